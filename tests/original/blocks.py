"""Has the original read host blocks of honcho.json, one JSON object a line with "block" and "now".

Prints a line for each: null for no credential, the name of what was raised, or what it reads.
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
