"""OAuth 1.0a by oauthlib and keystoneauth's plugin, against a running cloud.

Takes the administrator's OS_* and OS_CACERT from the environment.
"""

import os
import urllib.parse

from keystoneauth1 import session
from keystoneauth1.extras import oauth1 as plugins
from keystoneauth1.identity import v3
from oauthlib import oauth1

URL = os.environ["OS_AUTH_URL"]
TRUST = os.environ.get("OS_CACERT", True)

admin = session.Session(
    auth=v3.Password(
        auth_url=URL,
        username=os.environ["OS_USERNAME"],
        password=os.environ["OS_PASSWORD"],
        project_name=os.environ["OS_PROJECT_NAME"],
        user_domain_name="Default",
        project_domain_name="Default",
    ),
    verify=TRUST,
)
consumer = admin.post(
    URL + "/OS-OAUTH1/consumers", json={"consumer": {"description": "test"}}
).json()["consumer"]


def signed(path, headers, **secrets):
    """Asks for a token by a signed request."""
    client = oauth1.Client(
        consumer["id"],
        client_secret=consumer["secret"],
        signature_method=oauth1.SIGNATURE_HMAC,
        **secrets,
    )
    url, headers, _ = client.sign(URL + path, http_method="POST", headers=headers)
    answer = session.Session(verify=TRUST).post(url, headers=headers, authenticated=False)
    return dict(urllib.parse.parse_qsl(answer.text))


project = admin.get_project_id()
request = signed(
    "/OS-OAUTH1/request_token", {"Requested-Project-Id": project}, callback_uri="oob"
)
yes = admin.put(
    URL + "/OS-OAUTH1/authorize/" + request["oauth_token"],
    json={"roles": [{"name": "reader"}]},
).json()
access = signed(
    "/OS-OAUTH1/access_token",
    {},
    resource_owner_key=request["oauth_token"],
    resource_owner_secret=request["oauth_token_secret"],
    verifier=yes["token"]["oauth_verifier"],
)
plugin = plugins.V3OAuth1(
    URL,
    consumer_key=consumer["id"],
    consumer_secret=consumer["secret"],
    access_key=access["oauth_token"],
    access_secret=access["oauth_token_secret"],
)
delegate = session.Session(auth=plugin, verify=TRUST)
assert delegate.get_project_id() == project
assert plugin.get_access(delegate).role_names == ["reader"]
assert plugin.get_access(delegate).oauth_access_token_id == access["oauth_token"]
mine = delegate.get(URL + "/auth/projects").json()["projects"]
assert project in [p["id"] for p in mine], mine
print("a consumer was let in")
