"""Reads host blocks of honcho.json with the original's functions: one JSON object per line, with "block" and "now".

Prints one line for each: null for no credential, the name of the exception, or the fields read.
"""

import json
import sys

from plugins.memory.honcho import oauth

for line in sys.stdin:
    case = json.loads(line)
    try:
        grant = oauth.OAuthCredential.from_host_block(case["block"])
        answer = grant and {
            "access_token": grant.access_token,
            "expired": grant.is_expired(now=case["now"]),
            "oauth_block": grant.oauth_block(),
        }
    except Exception as error:
        answer = {"raises": type(error).__name__}
    print(json.dumps(answer))
