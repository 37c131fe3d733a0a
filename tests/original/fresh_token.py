"""Requests a fresh token from the original, once, in a new process.

Usage: fresh_token.py PATH. Prints a line when it is about to request it, then one JSON object with "token" and "refreshed".
"""

import json
import sys
from pathlib import Path

from plugins.memory.honcho import oauth

print("requesting", flush=True)
token, refreshed = oauth.ensure_fresh_token(Path(sys.argv[1]), "hermes")
print(json.dumps({"token": token, "refreshed": refreshed}))
