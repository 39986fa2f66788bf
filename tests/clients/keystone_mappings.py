"""Writes vectors of Keystone's mapping language: random rules and assertions,
and what Keystone's own rule processor yields.

    keystone_mappings.py SEED > services/identity/src/federation/mapping/keystone_vectors.json

Left out is what is different here on purpose: a provider's texts are not split
at semicolons, not evaluated as lists, and a name of several values, or of none
that is left, is nobody.
"""

import copy
import json
import random
import sys

import keystone.conf
from keystone.federation import utils

keystone.conf.configure()

TYPES = ["OIDC-name", "OIDC-mail", "OIDC-groups", "OIDC-kind"]
WORDS = ["alice", "bob", "staff", "guests", "wheel", "x@example.org", "ops-1", "ops-2"]


def remote(rng):
    part = {"type": rng.choice(TYPES)}
    test = rng.choice(["", "", "any_one_of", "not_any_of", "whitelist", "blacklist"])
    if test:
        part[test] = rng.sample(WORDS, rng.randint(1, 4))
        if rng.random() < 0.3:
            part[test] = [rng.choice(["^ops-", "staff|wheel", "@", "a.*e", "[0-9]$"])]
            part["regex"] = True
        elif rng.random() < 0.2:
            part["regex"] = False
    return part


def local(rng, slots, version):
    def text():
        if not slots or rng.random() < 0.3:
            return rng.choice(["fixed", "{{x}}", "a-b"])
        slot = "{%d}" % rng.randrange(slots)
        return rng.choice([slot, slot, "pre-%s" % slot, "%s@%s" % (slot, slot)])

    domain = rng.choice([{"id": "default"}, {"name": "Corp"}])
    out = {}
    if rng.random() < 0.6:
        out["user"] = {"name": text()}
        if rng.random() < 0.3:
            out["user"]["email"] = text()
        if rng.random() < 0.3:
            out["user"]["id"] = text()
        if rng.random() < 0.3:
            out["user"]["domain"] = domain
        if rng.random() < 0.3:
            out["user"]["type"] = rng.choice(["local", "ephemeral"])
    if rng.random() < 0.3:
        out["group"] = rng.choice([{"id": "g1"}, {"name": text(), "domain": domain}])
    if rng.random() < 0.3 and slots:
        out["groups"] = "{%d}" % rng.randrange(slots)
        out["domain"] = domain
    elif rng.random() < 0.2:
        out["groups"] = "['one', 'two']"
        out["domain"] = domain
    if rng.random() < 0.2 and slots:
        out["group_ids"] = "{%d}" % rng.randrange(slots)
    if rng.random() < 0.3:
        project = {"name": text(), "roles": [{"name": "member"}, {"name": text()}]}
        if version != "1.0" and rng.random() < 0.5:
            project["domain"] = domain
        out["projects"] = [project]
        out.setdefault("domain", domain)
    return out


def several(value):
    """Whether a list was written into a text, as Python writes lists."""
    if isinstance(value, str):
        return "[" in value
    if isinstance(value, dict):
        return any(several(v) for k, v in value.items() if k not in ("groups", "group_ids"))
    return isinstance(value, list) and any(several(v) for v in value)


def vector(rng):
    version = rng.choice(["1.0", "2.0", "3.0"])
    rules = []
    for _ in range(rng.randint(1, 3)):
        parts = [remote(rng) for _ in range(rng.randint(1, 3))]
        slots = sum(1 for p in parts if "any_one_of" not in p and "not_any_of" not in p)
        rules.append({"remote": parts, "local": [local(rng, slots, version) for _ in range(rng.randint(1, 2))]})
    said = {t: rng.sample(WORDS, rng.choice([1, 1, 1, 2, 3])) for t in rng.sample(TYPES, rng.randint(1, 4))}
    mapping = {"id": "m", "rules": copy.deepcopy(rules), "schema_version": version}
    utils.validate_mapping_structure({"rules": rules, "schema_version": version})
    processor = utils.create_attribute_mapping_rules_processor(mapping)
    try:
        mapped = processor.process({name: ";".join(values) for name, values in said.items()})
    except Exception:
        mapped = None
    if mapped is not None:
        if several(mapped):
            return None
        groups = {json.dumps(g, sort_keys=True) for g in mapped["group_names"]}
        mapped["group_names"] = [json.loads(g) for g in sorted(groups)]
        mapped["group_ids"] = sorted(mapped["group_ids"])
        for of in [mapped["user"], *mapped["projects"]]:
            if of.get("domain") is None:
                of.pop("domain", None)
    return {"version": version, "rules": rules, "assertion": said, "mapped": mapped}


def main():
    rng = random.Random(int(sys.argv[1]))
    vectors = []
    while len(vectors) < 200:
        one = vector(rng)
        if one and (one["mapped"] or rng.random() < 0.1):
            vectors.append(one)
    print("[")
    print(",\n".join(json.dumps(v, sort_keys=True) for v in vectors))
    print("]")


main()
