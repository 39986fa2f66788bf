"""The ways of keystoneauth to sign in, loaded by name, against a running cloud.

    identity_plugins.py ISSUER

Takes the administrator's OS_* from the environment; the cloud trusts the OpenID
provider at ISSUER (oidc-provider-mock) as "corp". That one knows the grant of
codes only, so an endpoint here speaks the others, and signs users in there.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import struct
import sys
import threading
import time
import urllib.parse

import requests
from keystoneauth1 import exceptions, loading, session

URL = os.environ["OS_AUTH_URL"]
ISSUER = sys.argv[1]
CLIENT = ("cloud", "any secret")
BACK = "http://localhost/back"
DEMO = {"project_name": "demo", "project_domain_name": "Default"}
tried = []


def sign_in(name, **options):
    """A session by this plugin, after a request that shows the token."""
    plugin = loading.get_plugin_loader(name).load_from_options(auth_url=URL, **options)
    opened = session.Session(auth=plugin)
    assert opened.get_project_id(), name
    assert opened.get(URL + "/auth/catalog").json()["catalog"], name
    tried.append(name)
    return opened


def refused(name, error, **options):
    """This plugin gets no token, and an answer that it understands."""
    try:
        sign_in(name, **options)
    except error as told:
        tried.append(name)
        return told
    raise AssertionError(f"{name} got in")


def passcode(secret):
    """The passcode of RFC 6238 of this moment."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    mac = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    at = mac[-1] & 15
    number = struct.unpack(">I", mac[at : at + 4])[0] & 0x7FFFFFFF
    return f"{number % 1000000:06}"


def code_of(user):
    """What the provider gives a browser of this user to take back."""
    asked = {"client_id": CLIENT[0], "redirect_uri": BACK, "response_type": "code", "scope": "openid email"}
    shown = requests.post(
        f"{ISSUER}/oauth2/authorize", params=asked, data={"sub": user}, allow_redirects=False, timeout=10
    )
    return urllib.parse.parse_qs(urllib.parse.urlparse(shown.headers["Location"]).query)["code"][0]


class OtherGrants(http.server.BaseHTTPRequestHandler):
    """The token endpoint for the grants of passwords and of clients."""

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        user = {"password": form.get("username"), "client_credentials": ["robot"]}[form["grant_type"][0]]
        exchanged = {"grant_type": "authorization_code", "code": code_of(user[0]), "redirect_uri": BACK}
        got = requests.post(f"{ISSUER}/oauth2/token", data=exchanged, auth=CLIENT, timeout=10)
        self.send_response(got.status_code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(got.content)

    def log_message(self, *_):
        pass


def by_secrets(admin, admin_id):
    """Passwords, tokens, application credentials, passcodes."""
    token = admin.get_token()
    own = {"project_name": "admin", "project_domain_name": "Default"}
    sign_in("v3token", token=token, **own)
    sign_in("password", username="admin", password=os.environ["OS_PASSWORD"], user_domain_name="Default",
            default_domain_name="Default", project_name="admin")
    sign_in("token", token=token, **own)
    roles = {"application_credential": {"name": "plugins", "secret": "s3cret"}}
    made = admin.post(f"{URL}/users/{admin_id}/application_credentials", json=roles).json()
    made = made["application_credential"]
    sign_in("v3applicationcredential", application_credential_id=made["id"],
            application_credential_secret="s3cret")
    client = {"oauth2_endpoint": f"{URL}/OS-OAUTH2/token", "oauth2_client_id": made["id"]}
    opened = sign_in("v3oauth2clientcredential", oauth2_client_secret="s3cret", **client)
    headers = opened.get_auth_headers()
    assert headers["Authorization"].startswith("Bearer "), headers.keys()
    bearer = {"Authorization": headers["Authorization"]}
    assert requests.get(f"{URL}/auth/catalog", headers=bearer, timeout=10).status_code == 200
    refused("v3oauth2clientcredential", exceptions.ClientException, oauth2_client_secret="wrong", **client)
    secret = base64.b32encode(b"a secret of twenty b").decode()
    by_code = {"user_domain_name": "Default", **DEMO}
    for name in ("tim", "meg"):
        user = admin.post(f"{URL}/users", json={"user": {"name": name, "password": "pw"}}).json()["user"]
        credential = {"type": "totp", "blob": secret, "user_id": user["id"]}
        admin.post(f"{URL}/credentials", json={"credential": credential})
        role = admin.get(f"{URL}/roles?name=member").json()["roles"][0]["id"]
        project = admin.get(f"{URL}/projects?name=demo").json()["projects"][0]["id"]
        admin.put(f"{URL}/projects/{project}/users/{user['id']}/roles/{role}")
    sign_in("v3totp", username="tim", passcode=passcode(secret), **by_code)
    refused("v3totp", exceptions.Unauthorized, username="tim", passcode="000000", **by_code)
    rules = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]}
    admin.patch(f"{URL}/users/{user['id']}", json={"user": {"options": rules}})
    missing = refused("v3password", exceptions.MissingAuthMethods, username="meg", password="pw", **by_code)
    assert missing.required_auth_methods == [["password", "totp"]] and missing.receipt
    sign_in("v3multifactor", auth_methods=["v3password", "v3totp"], username="meg", password="pw",
            passcode=passcode(secret), **by_code)


def by_openid(admin):
    """Users of the OpenID provider."""
    rules = [{"local": [{"user": {"name": "{0}"}, "group": {"name": "guests", "domain": {"name": "Default"}}}],
              "remote": [{"type": "OIDC-sub"}]}]
    group = admin.post(f"{URL}/groups", json={"group": {"name": "guests"}}).json()["group"]["id"]
    role = admin.get(f"{URL}/roles?name=member").json()["roles"][0]["id"]
    project = admin.get(f"{URL}/projects?name=demo").json()["projects"][0]["id"]
    admin.put(f"{URL}/projects/{project}/groups/{group}/roles/{role}")
    where = f"{URL}/OS-FEDERATION"
    admin.put(f"{where}/identity_providers/corp", json={"identity_provider": {"remote_ids": [ISSUER], "enabled": True}})
    admin.put(f"{where}/mappings/m", json={"mapping": {"rules": rules}})
    protocol = {"protocol": {"mapping_id": "m"}}
    admin.put(f"{where}/identity_providers/corp/protocols/openid", json=protocol)
    for user in ("ann", "bob", "robot"):
        requests.put(f"{ISSUER}/users/{user}", json={}, timeout=10).raise_for_status()
    corp = {"identity_provider": "corp", "protocol": "openid", **DEMO}
    client = {**corp, "client_id": CLIENT[0], "client_secret": CLIENT[1], "access_token_type": "id_token"}
    sign_in("v3oidcauthcode", discovery_endpoint=f"{ISSUER}/.well-known/openid-configuration",
            code=code_of("ann"), redirect_uri=BACK, **client)
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherGrants)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    endpoint = {"access_token_endpoint": f"http://127.0.0.1:{other.server_port}/token"}
    sign_in("v3oidcpassword", username="bob", password="pw", **endpoint, **client)
    sign_in("v3oidcclientcredentials", **endpoint, **client)
    form = {"grant_type": "client_credentials"}
    token = requests.post(endpoint["access_token_endpoint"], data=form, timeout=10).json()["id_token"]
    sign_in("v3oidcaccesstoken", access_token=token, **corp)
    refused("v3oidcaccesstoken", exceptions.Unauthorized, access_token="opaque", **corp)


def not_there(admin_id):
    """What this cloud does not do it refuses in words that the plugin knows."""
    plugin = loading.get_plugin_loader("v3tokenlessauth").load_from_options(auth_url=URL, **DEMO)
    answer = session.Session(auth=plugin).get(f"{URL}/users/{admin_id}", raise_exc=False)
    assert answer.status_code == 401 and answer.json()["error"]["code"] == 401, answer.text
    tried.append("v3tokenlessauth")
    refused("v3oauth2mtlsclientcredential", exceptions.ClientException,
            oauth2_endpoint=f"{URL}/OS-OAUTH2/token", oauth2_client_id="nobody")


opened = sign_in("v3password", username="admin", password=os.environ["OS_PASSWORD"],
                 user_domain_name="Default", project_name="admin", project_domain_name="Default")
by_secrets(opened, opened.get_user_id())
by_openid(opened)
not_there(opened.get_user_id())
print(json.dumps(sorted(set(tried))))
print("all plugins work")
