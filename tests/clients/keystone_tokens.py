"""Tokens of this cloud against Keystone's own libraries, both ways.

    keystone_tokens.py SECRETS fernet|jws

Asks the cloud of the environment (OS_*) for tokens of every scope and kind, lets
Keystone's formatter read each with the cloud's keys, and lets the cloud read
tokens that Keystone's formatter makes with them.
"""

import datetime
import os
import sys

import keystone.conf
import requests
from keystone.receipt import receipt_formatters
from keystone.token import token_formatters
from keystone.token.providers.jws import core as jws

AUTH = os.environ["OS_AUTH_URL"].rstrip("/")
AUTH = AUTH if AUTH.endswith("/v3") else AUTH + "/v3"
CONF = keystone.conf.CONF
NONE = dict.fromkeys(
    "system domain_id project_id trust_id federated_group_ids identity_provider_id protocol_id "
    "access_token_id app_cred_id thumbprint".split()
)


def configure(secrets):
    keystone.conf.configure(conf=CONF)
    CONF([], project="keystone")
    for group in ("fernet_tokens", "fernet_receipts"):
        CONF.set_override("key_repository", f"{secrets}/token-keys", group=group)
    CONF.set_override("jws_private_key_repository", f"{secrets}/jws-keys/private", group="jwt_tokens")
    CONF.set_override("jws_public_key_repository", f"{secrets}/jws-keys/public", group="jwt_tokens")


def call(method, path, token=None, body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        headers["X-Auth-Token"] = token
    return requests.request(method, AUTH + path, json=body, headers=headers, timeout=30)


def sign_in(scope=None, password=None, user=None, identity=None):
    user = user or {"name": os.environ["OS_USERNAME"], "domain": {"id": "default"}}
    user = {**user, "password": password or os.environ["OS_PASSWORD"]}
    auth = {"identity": identity or {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = scope
    return call("POST", "/auth/tokens", body={"auth": auth})


def made(answer):
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"], answer.json()["token"]


def ours_by_theirs(formatter, name, token, body, trustee=None):
    read = formatter.validate_token(token)
    (user, methods, audit, system, domain, project, trust, groups, provider, protocol, access, cred, _, _, expires) = read
    assert user == (trustee or body["user"]["id"]), (name, user)
    assert sorted(methods) == sorted(body["methods"]), (name, methods)
    assert list(audit) == body["audit_ids"], (name, audit)
    assert bool(system) == ("system" in body), (name, system)
    assert domain == body.get("domain", {}).get("id"), (name, domain)
    assert project == body.get("project", {}).get("id"), (name, project)
    assert trust == body.get("OS-TRUST:trust", {}).get("id"), (name, trust)
    assert cred == body.get("application_credential", {}).get("id"), (name, cred)
    assert (groups, provider, protocol, access) == (None, None, None, None), name
    assert expires[:19] == body["expires_at"][:19], (name, expires, body["expires_at"])
    print(f"Keystone reads {name}, {len(token)} characters")


def theirs_by_ours(formatter, kind, name, body, admin, trustee=None):
    end = (datetime.datetime.utcnow() + datetime.timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    parts = dict(
        NONE,
        system="all" if "system" in body else None,
        domain_id=body.get("domain", {}).get("id"),
        project_id=body.get("project", {}).get("id"),
        trust_id=body.get("OS-TRUST:trust", {}).get("id"),
        app_cred_id=body.get("application_credential", {}).get("id"),
    )
    user, audit, methods = trustee or body["user"]["id"], ["AAECAwQFBgcICQoLDA0ODw"], body["methods"]
    if kind == "jws":
        token, _ = formatter.create_token(user, end, audit, methods, **parts)
    else:
        f = token_formatters
        layout = {
            "trust": f.TrustScopedPayload,
            "application credential": f.ApplicationCredentialScopedPayload,
            "project": f.ProjectScopedPayload,
            "domain": f.DomainScopedPayload,
            "system": f.SystemScopedPayload,
            "unscoped": f.UnscopedPayload,
        }[name]
        token = formatter.create_token(user, end, audit, layout, methods=methods, **parts)
    shown = call("GET", "/auth/tokens", admin, X_Subject_Token=token)
    assert shown.status_code == 200, (name, shown.text)
    theirs = shown.json()["token"]
    for part in ("user", "project", "domain", "system", "roles", "OS-TRUST:trust", "application_credential"):
        assert theirs.get(part) == body.get(part), (name, part, theirs.get(part), body.get(part))
    # It is good for calls as well.
    assert call("GET", "/auth/projects", token).status_code == 200, name
    print(f"the cloud reads {name} of Keystone's")


def receipts(admin):
    rules = {"multi_factor_auth_rules": [["password", "totp"]]}
    new = {"user": {"name": "factors", "password": "pw", "domain_id": "default", "options": rules}}
    user = call("POST", "/users", admin, new).json()["user"]
    asked = sign_in(user={"id": user["id"]}, password="pw")
    assert asked.status_code == 401, asked.text
    read = receipt_formatters.ReceiptFormatter().validate_receipt(asked.headers["Openstack-Auth-Receipt"])
    assert read[0] == user["id"] and read[1] == ["password"], read
    body = asked.json()["receipt"]
    # Keystone shows whole seconds only.
    assert [t[:19] for t in read[2:]] == [body["issued_at"][:19], body["expires_at"][:19]], (read, body)
    print("Keystone reads receipt")


def main():
    secrets, kind = sys.argv[1:]
    configure(secrets)
    formatter = jws.JWSFormatter() if kind == "jws" else token_formatters.TokenFormatter()
    project = {"project": {"name": os.environ["OS_PROJECT_NAME"], "domain": {"id": "default"}}}
    admin, of_project = made(sign_in(project))
    me, here = of_project["user"]["id"], of_project["project"]["id"]
    role = [r["id"] for r in of_project["roles"] if r["name"] == "admin"][0]
    call("PUT", f"/domains/default/users/{me}/roles/{role}", admin)
    call("PUT", f"/system/users/{me}/roles/{role}", admin)
    tokens = {"project": (admin, of_project)}
    tokens["unscoped"] = made(sign_in("unscoped"))
    tokens["domain"] = made(sign_in({"domain": {"id": "default"}}))
    tokens["system"] = made(sign_in({"system": {"all": True}}))
    new = {"application_credential": {"name": "c", "secret": "s"}}
    cred = call("POST", f"/users/{me}/application_credentials", admin, new).json()["application_credential"]
    by = {"methods": ["application_credential"], "application_credential": {"id": cred["id"], "secret": "s"}}
    tokens["application credential"] = made(sign_in(identity=by))
    new = {"user": {"name": "trustee", "password": "pw", "domain_id": "default"}}
    trustee = call("POST", "/users", admin, new).json()["user"]["id"]
    trust = {"trustor_user_id": me, "trustee_user_id": trustee, "project_id": here, "impersonation": True}
    trust = call("POST", "/OS-TRUST/trusts", admin, {"trust": {**trust, "roles": [{"id": role}]}}).json()["trust"]
    tokens["trust"] = made(sign_in({"OS-TRUST:trust": {"id": trust["id"]}}, user={"id": trustee}, password="pw"))
    for name, (token, body) in tokens.items():
        given = trustee if name == "trust" else None
        ours_by_theirs(formatter, name, token, body, given)
        theirs_by_ours(formatter, kind, name, body, admin, given)
    receipts(admin)
    print("all equal")


main()
