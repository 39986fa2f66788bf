"""An OpenID provider (oidc-provider-mock) for the test beside this file.

    identity_federation.py

Prints its issuer, then answers lines on its standard input: `SUB CLAIMS` (JSON)
signs that user in by the authorization code flow and prints the ID token.
"""

import json
import sys
import urllib.parse

import oidc_provider_mock
import requests

CLIENT = ("cloud", "any secret is good for a client that is not registered")
BACK = "http://localhost/back"


def sign_in(issuer, sub, claims):
    requests.put(f"{issuer}/users/{sub}", json=claims, timeout=10).raise_for_status()
    asked = {
        "client_id": CLIENT[0],
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "openid profile email",
    }
    shown = requests.post(
        f"{issuer}/oauth2/authorize", params=asked, data={"sub": sub}, allow_redirects=False, timeout=10
    )
    code = urllib.parse.parse_qs(urllib.parse.urlparse(shown.headers["Location"]).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    got = requests.post(f"{issuer}/oauth2/token", data=form, auth=CLIENT, timeout=10)
    got.raise_for_status()
    return got.json()["id_token"]


def main():
    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        print(issuer, flush=True)
        for line in sys.stdin:
            sub, claims = line.split(" ", 1)
            print(sign_in(issuer, sub, json.loads(claims)), flush=True)


main()
