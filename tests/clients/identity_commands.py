"""Every identity command of `openstack`, as its shell runs it, against a running cloud.

Takes the administrator's OS_* from the environment and works in the current
folder. In one process, because the client takes a second to load; the commands
themselves are the ones of the entry point `openstack`. At the end each command
that the client has for identity must have been run.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import shlex

from openstackclient.shell import OpenStackShell

COMMANDS = {
    entry.name.replace("_", " ")
    for entry in importlib.metadata.entry_points(group="openstack.identity.v3")
}
run = set()


def command_of(words):
    """The longest command that the words begin with."""
    plain = [word for word in words if not word.startswith("-")]
    for length in range(len(plain), 0, -1):
        name = " ".join(plain[:length])
        if name in COMMANDS:
            return name
    raise AssertionError(f"{words} is no identity command")


def shell(words, instead=None):
    """Exit status and everything that was said; `instead` are other OS_* variables."""
    said = io.StringIO()
    kept = dict(os.environ)
    if instead is not None:
        for name in [name for name in os.environ if name.startswith("OS_")]:
            if name not in ("OS_AUTH_URL", "OS_IDENTITY_API_VERSION", "OS_REGION_NAME"):
                del os.environ[name]
        os.environ.update(instead)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = OpenStackShell().run(words)
            except SystemExit as end:
                status = end.code
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return status, said.getvalue()


def say(line, instead=None):
    """A command that has to work and is asked for nothing."""
    words = shlex.split(line)
    status, said = shell(words, instead)
    # `federation protocol set` ends with what it would show.
    assert not status or isinstance(status, tuple), f"{line}: {status}\n{said}"
    run.add(command_of(words))
    return said


def ask(line, instead=None):
    """As `say`, and what it answers."""
    said = say(f"{line} -f json", instead)
    start = min(at for at in (said.find("{"), said.find("[")) if at >= 0)
    return json.loads(said[start:])


def refused(line, status, instead=None):
    """A command that must not work, and says why."""
    done, said = shell(shlex.split(line), instead)
    assert done and str(status) in said, f"{line}: {done}\n{said}"


def column(rows, name):
    return [row[name] for row in rows]


def write(name, content):
    with open(name, "w", encoding="utf-8") as file:
        file.write(content if isinstance(content, str) else json.dumps(content))


def as_user(name, password, **more):
    return {
        "OS_USERNAME": name,
        "OS_PASSWORD": password,
        "OS_USER_DOMAIN_NAME": "shop",
        "OS_PROJECT_DOMAIN_NAME": "shop",
        **more,
    }


def domains_and_projects():
    made = ask("domain create --description first shop")
    assert made["description"] == "first" and made["enabled"], made
    assert ask("domain create --or-show shop")["id"] == made["id"]
    say("domain set --description second shop")
    assert ask("domain show shop")["description"] == "second"
    assert "shop" in column(ask("domain list"), "Name")
    refused("domain delete shop", "enabled")
    top = ask("project create --domain shop --tag red --tag big --property colour=blue top")
    below = ask("project create --domain shop --parent top below")
    assert below["parent_id"] == top["id"]
    say("project set --domain shop --tag late --description d top")
    say("project set --domain shop --remove-tag red top")
    shown = ask("project show --domain shop --children top")
    assert sorted(shown["tags"]) == ["big", "late"] and below["id"] in str(shown), shown
    assert top["id"] in str(ask("project show --domain shop --parents below"))
    assert column(ask("project list --domain shop --tags big"), "Name") == ["top"]
    assert column(ask("project list --domain shop --not-tags big"), "Name") == ["below"]
    assert column(ask("project list --domain shop --parent top"), "Name") == ["below"]
    refused("project delete --domain shop top", 403)
    say("project set --domain shop --disable below")
    assert column(ask("project list --domain shop --disabled"), "Name") == ["below"]
    say("project set --domain shop --enable below")
    say("project create --domain shop gone")
    say("project delete --domain shop gone")


def users_and_groups():
    made = ask(
        "user create --domain shop --project top --project-domain shop --password one --email a@b.c "
        "--ignore-password-expiry ann"
    )
    assert made["email"] == "a@b.c" and made["options"]["ignore_password_expiry"], made
    say("user create --domain shop --password two bob")
    say("user set --domain shop --email d@e.f --description x ann")
    assert ask("user show --domain shop ann")["email"] == "d@e.f"
    say("user set --domain shop --disable bob")
    assert column(ask("user list --domain shop --disabled"), "Name") == ["bob"]
    say("user set --domain shop --enable bob")
    assert column(ask("user list --domain shop --long"), "Email").count("d@e.f") == 1
    assert ask("group create --domain shop --description staff crew")["description"] == "staff"
    say("group set --domain shop --description all crew")
    assert ask("group show --domain shop crew")["description"] == "all"
    say("group add user --group-domain shop --user-domain shop crew ann bob")
    assert "in group" in say("group contains user --group-domain shop --user-domain shop crew ann")
    assert column(ask("group list --user ann --user-domain shop"), "Name") == ["crew"]
    assert len(ask("user list --group crew")) == 2
    say("group remove user --group-domain shop --user-domain shop crew bob")
    assert column(ask("user list --group crew"), "Name") == ["ann"]
    say("user create --domain shop --password three eve")
    say("user delete --domain shop eve")


def roles():
    made = ask("role create --description paints painter")
    assert made["description"] == "paints", made
    say("role create --domain shop clerk")
    say("role create helper")
    say("role set --description 'paints well' painter")
    assert ask("role show painter")["description"] == "paints well"
    assert column(ask("role list --domain shop"), "Name") == ["clerk"]
    ask("implied role create --implied-role helper painter")
    assert "painter" in column(ask("implied role list"), "Prior Role Name")
    top = "--project top --project-domain shop"
    say(f"role add {top} --user ann --user-domain shop painter")
    say(f"role add {top} --user ann --user-domain shop member")
    say("role add --domain shop --group crew --group-domain shop --inherited reader")
    say("role add --system all --user bob --user-domain shop reader")
    held = ask(f"role assignment list {top} --user ann --user-domain shop --names")
    assert sorted(column(held, "Role")) == ["member", "painter"], held
    effective = ask(f"role assignment list {top} --user ann --user-domain shop --effective --names")
    assert {"helper", "reader"} <= set(column(effective, "Role")), effective
    inherited = ask("role assignment list --group crew --group-domain shop --inherited")
    assert column(inherited, "Inherited") == [True], inherited
    assert column(ask("role assignment list --system all --names"), "User").count("bob@shop") == 1
    ann = ask("user show --domain shop ann")["id"]
    assert sorted(column(ask(f"project list --user {ann}"), "Name")) == ["below", "top"]
    say("role add --project below --project-domain shop --user bob --user-domain shop helper")
    say("role remove --project below --project-domain shop --user bob --user-domain shop helper")
    refused("role delete --domain shop nobody", "nobody")


def tokens_and_catalog():
    issued = ask("token issue")
    assert issued["project_id"] and issued["expires"]
    types = column(ask("catalog list"), "Type")
    assert "identity" in types and "object-store" in types, types
    assert ask("catalog show identity")["type"] == "identity"
    ann = as_user("ann", "one", OS_PROJECT_NAME="top")
    token = ask("token issue", ann)["id"]
    by_token = {"OS_AUTH_TYPE": "v3token", "OS_TOKEN": token, "OS_PROJECT_NAME": "top",
                "OS_PROJECT_DOMAIN_NAME": "shop"}
    assert ask("token issue", by_token)["project_id"]
    say(f"token revoke {token}")
    refused("token issue", 401, by_token)
    say("user password set --original-password one --password 'once more'", ann)
    refused("token issue", 401, ann)
    return as_user("ann", "once more", OS_PROJECT_NAME="top")


def credentials(ann):
    made = ask("credential create --type cert admin secret --project demo")
    say(f"credential set --user admin --type cert --data 'more secret' --project demo {made['id']}")
    assert ask(f"credential show {made['id']}")["type"] == "cert"
    assert column(ask("credential list --type cert"), "ID") == [made["id"]]
    say(f"credential delete {made['id']}")
    key = ask("ec2 credentials create", ann)
    assert column(ask("ec2 credentials list", ann), "Access") == [key["access"]]
    assert ask(f"ec2 credentials show {key['access']}", ann)["secret"] == key["secret"]
    say(f"ec2 credentials delete {key['access']}", ann)
    assert ask("ec2 credentials list", ann) == []


def application_credentials(ann):
    rules = [{"service": "identity", "method": "GET", "path": "/v3/projects"}]
    write("rules.json", rules)
    made = ask(
        "application credential create --secret s3cret --role member --access-rules rules.json "
        "--expiration 2099-01-01T00:00:00 ruled", ann)
    say("application credential create --secret s3cret --unrestricted free", ann)
    assert sorted(column(ask("application credential list", ann), "Name")) == ["free", "ruled"]
    assert ask("application credential show ruled", ann)["ID"] == made["ID"]
    rule = ask("access rule list", ann)
    assert column(rule, "Path") == ["/v3/projects"], rule
    assert ask(f"access rule show {rule[0]['ID']}", ann)["Method"] == "GET"
    by_secret = {"OS_AUTH_TYPE": "v3applicationcredential", "OS_APPLICATION_CREDENTIAL_SECRET": "s3cret"}
    ruled = {**by_secret, "OS_APPLICATION_CREDENTIAL_ID": made["ID"]}
    refused("user list", 401, ruled)
    named = {**by_secret, "OS_APPLICATION_CREDENTIAL_NAME": "free", "OS_USERNAME": "ann",
             "OS_USER_DOMAIN_NAME": "shop"}
    assert ask("token issue", named)["project_id"]
    refused(f"access rule delete {rule[0]['ID']}", "rule", ann)
    say("application credential delete ruled free", ann)
    say(f"access rule delete {rule[0]['ID']}", ann)
    assert ask("access rule list", ann) == []


def trusts(ann):
    # Who may not look users up names them by id.
    giver, taker = (ask(f"user show --domain shop {name}")["id"] for name in ("ann", "bob"))
    place = ask("project show --domain shop top")["id"]
    role = ask("role show member")["id"]
    made = ask(f"trust create --project {place} --role {role} --impersonate {giver} {taker}", ann)
    ident = made["id"]
    assert ident in column(ask("trust list"), "ID")
    assert ident in column(ask("trust list --trustor ann --trustor-domain shop"), "ID")
    assert ask(f"trust show {ident}", ann)["is_impersonation"]
    bob = as_user("bob", "two", OS_TRUST_ID=ident)
    assert ask("token issue", bob)["project_id"]
    say(f"trust delete {ident}", ann)
    refused("token issue", 401, bob)


def catalogs():
    say("region create --description north north")
    say("region create --parent-region north village")
    say("region set --description 'far north' north")
    assert ask("region show north")["description"] == "far north"
    assert column(ask("region list --parent-region north"), "Region") == ["village"]
    say("service create --name paint --description p painting")
    say("service set --description q --disable paint")
    assert not ask("service show paint")["enabled"]
    say("service set --enable paint")
    assert "painting" in column(ask("service list"), "Type")
    made = ask("endpoint create --region north paint public http://paint/v1")
    say(f"endpoint set --url http://paint/v2 {made['id']}")
    assert ask(f"endpoint show {made['id']}")["url"] == "http://paint/v2"
    assert column(ask("endpoint list --service paint --interface public --region north"), "ID") == [made["id"]]
    say(f"endpoint add project --project-domain shop {made['id']} top")
    assert column(ask("endpoint list --project top --project-domain shop"), "ID") == [made["id"]]
    assert len(ask(f"endpoint list --endpoint {made['id']}")) == 1
    say(f"endpoint remove project --project-domain shop {made['id']} top")
    write("filters.json", {"interface": "public"})
    say("endpoint group create --description all outside filters.json")
    # The client sends null for what is not named, and null is no name.
    say("endpoint group set --name outside --filters filters.json --description every outside")
    assert ask("endpoint group show outside")["description"] == "every"
    assert column(ask("endpoint group list"), "Name") == ["outside"]
    say("endpoint group add project outside top")
    assert len(ask("endpoint group list --endpointgroup outside")) == 1
    assert column(ask("endpoint group list --project top"), "Name") == ["outside"]
    say("endpoint group remove project outside top")
    say("endpoint group delete outside")
    write("policy.json", {"admin": []})
    policy = ask("policy create --type application/json policy.json")
    say(f"policy set --type text/plain {policy['id']}")
    assert ask(f"policy show {policy['id']}")["type"] == "text/plain"
    assert column(ask("policy list"), "ID") == [policy["id"]]
    say(f"policy delete {policy['id']}")
    limits(made["id"])


def limits(endpoint):
    made = ask("registered limit create --service paint --region north --default-limit 10 pots")
    say(f"registered limit set --default-limit 12 {made['id']}")
    assert ask(f"registered limit show {made['id']}")["default_limit"] == 12
    assert column(ask("registered limit list --service paint --resource-name pots"), "ID") == [made["id"]]
    own = ask("limit create --project top --project-domain shop --service paint --region north "
              "--resource-limit 5 pots")
    say(f"limit set --resource-limit 6 {own['id']}")
    assert ask(f"limit show {own['id']}")["resource_limit"] == 6
    assert column(ask("limit list --project top --project-domain shop"), "ID") == [own["id"]]
    refused(f"registered limit delete {made['id']}", "limit")
    say(f"limit delete {own['id']}")
    say(f"registered limit delete {made['id']}")
    say(f"endpoint delete {endpoint}")
    say("service delete paint")
    say("region delete village")
    say("region delete north")


def federation():
    say("identity provider create --remote-id https://corp --description c corp")
    say("identity provider set --description ours corp")
    assert ask("identity provider show corp")["description"] == "ours"
    assert column(ask("identity provider list --enabled"), "ID") == ["corp"]
    write("mapping.json", [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}])
    say("mapping create --rules mapping.json m")
    say("mapping set --rules mapping.json m")
    assert ask("mapping show m")["id"] == "m"
    assert column(ask("mapping list"), "ID") == ["m"]
    say("federation protocol create --identity-provider corp --mapping m openid")
    say("federation protocol set --identity-provider corp --mapping m openid")
    assert ask("federation protocol show --identity-provider corp openid")["mapping"] == "m"
    assert len(ask("federation protocol list --identity-provider corp")) == 1
    say("service provider create --auth-url http://b/x --service-provider-url http://b/y b")
    say("service provider set --description d b")
    assert ask("service provider show b")["description"] == "d"
    assert column(ask("service provider list"), "ID") == ["b"]
    assert "admin" in column(ask("federation project list"), "Name")
    say("federation domain list")
    say("service provider delete b")
    say("federation protocol delete --identity-provider corp openid")
    say("mapping delete m")
    say("identity provider delete corp")


def oauth1():
    made = ask("consumer create --description c")
    say(f"consumer set --description d {made['id']}")
    assert ask(f"consumer show {made['id']}")["description"] == "d"
    assert column(ask("consumer list"), "ID") == [made["id"]]
    secret = f"--consumer-key {made['id']} --consumer-secret {made['secret']}"
    request = ask(f"request token create {secret} --project admin --domain default")
    yes = ask(f"request token authorize --request-key {request['id']} --role reader")
    access = ask(
        f"access token create {secret} --request-key {request['id']} --request-secret {request['secret']} "
        f"--verifier {yes['oauth_verifier']}")
    assert access["secret"], access
    say(f"consumer delete {made['id']}")


def leave():
    ask("implied role list")
    say("implied role delete --implied-role helper painter")
    say("role delete painter helper")
    say("role delete --domain shop clerk")
    say("group delete --domain shop crew")
    say("user delete --domain shop ann bob")
    say("project delete --domain shop below")
    say("project delete --domain shop top")
    say("domain set --disable shop")
    say("domain delete shop")
    assert "shop" not in column(ask("domain list"), "Name")


domains_and_projects()
users_and_groups()
roles()
ann = tokens_and_catalog()
credentials(ann)
application_credentials(ann)
trusts(ann)
catalogs()
federation()
oauth1()
leave()
missing = COMMANDS - run
assert not missing, f"not run: {sorted(missing)}"
print(f"{len(run)} commands work")
