"""Asks the original for a fresh token, once, from a cold start.

Usage: fresh_token.py PATH. Prints a line when it is about to ask, then one JSON object with "token" and "refreshed".
"""

import json
import sys
from pathlib import Path

from plugins.memory.honcho import oauth

print("asking", flush=True)
token, refreshed = oauth.ensure_fresh_token(Path(sys.argv[1]), "hermes")
print(json.dumps({"token": token, "refreshed": refreshed}))
