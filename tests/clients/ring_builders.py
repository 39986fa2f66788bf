"""Swift's own builders and composite rings against `virga ring`: each goes on where the other stopped.

usage: ring_builders.py VIRGA FOLDER
Builders of several shapes made by Swift are imported, exported and loaded by
Swift again: nothing may be lost. Composite rings of the same components have
to be the same. Exits non-zero at the first difference.
"""
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys

from swift.cli import ringbuilder
from swift.common.ring import RingBuilder
from swift.common.ring.composite_builder import CompositeRingBuilder
from swift.common.ring.ring import RingData

VIRGA, FOLDER = sys.argv[1], sys.argv[2]
# Swift works these out anew whenever it needs them.
DERIVED = {"_last_part_gather_start"}


def virga(*args):
    """Runs `virga ring ARGS`; an exit code above 1 ends the test."""
    done = subprocess.run([VIRGA, "ring", *args], capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"virga ring {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def swift(*args):
    """Swift's tool, in this process: starting Python a hundred times takes half a minute."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ringbuilder.main(["swift-ring-builder", *args])
    except SystemExit as done:
        if (done.code or 0) > 1:
            sys.exit(f"swift-ring-builder {' '.join(args)}: {done.code}\n{said.getvalue()}")


def path(name):
    return os.path.join(FOLDER, name)


def same(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: Virga has {ours}, Swift has {theirs}")


# --- builders of several shapes, made with Swift's tool ---

def plain(name, replicas="3"):
    """Uneven weights, an overload, a device gone, another about to go, uneven move times."""
    os.makedirs(path(name))
    # Swift increases the part power of object rings only, and goes by the name.
    file = path(f"{name}/object.builder")
    swift(file, "create", "8", replicas, "1")
    devices = [f"r{1 + n % 2}z{n % 3}-10.0.{n % 3}.{n % 6}:{6200 + n}R10.1.0.{n}:6300/sd{n}_tray {n}" for n in range(12)]
    swift(file, "add", *itertools.chain(*((text, str(100 + 10 * n)) for n, text in enumerate(devices))))
    swift(file, "set_overload", "12%")
    swift(file, "rebalance", "--seed", "1")
    swift(file, "pretend_min_part_hours_passed")
    swift(file, "remove", "d3")
    swift(file, "set_weight", "d4", "250")
    swift(file, "rebalance", "--seed", "2")
    swift(file, "remove", "d5")
    return file


def fractional(name):
    return plain(name, "2.5")


def increasing(name):
    """In the middle of a partition power increase: the move times are a plain list."""
    file = plain(name)
    swift(file, "rebalance", "--seed", "3")
    swift(file, "prepare_increase_partition_power")
    swift(file, "increase_partition_power")
    return file


def fresh(name):
    """Never rebalanced."""
    file = path(f"{name}.builder")
    swift(file, "create", "6", "3", "24")
    swift(file, "add", "r1z1-10.0.0.1:6200/sda", "1")
    return file


def wide(name):
    """Device numbers that need four bytes, and holes."""
    file = path(f"{name}.builder")
    builder = RingBuilder(6, 3, 0)
    for number in (0, 7, 9, 69_999):
        builder.add_dev({"id": number, "region": 1, "zone": number, "ip": "fe80::1", "port": 6200,
                         "replication_ip": "fe80::1", "replication_port": 6200, "device": f"sd{number}",
                         "weight": 1000 / 3})
    builder.rebalance(seed="1")
    builder.save(file)
    return file


def as_data(file):
    """What a builder file holds, without what is derived."""
    builder = RingBuilder.load(file)
    data = {key: value for key, value in builder.to_dict().items() if key not in DERIVED}
    data["_replica2part2dev"] = [list(row) for row in builder._replica2part2dev or []]
    data["_last_part_moves"] = list(builder._last_part_moves)
    data["devs"] = [dev and {key: value for key, value in dev.items() if key != "parts_wanted"} for dev in builder.devs]
    data["_remove_devs"] = [dev["id"] for dev in builder._remove_devs]
    data["dispersion"] = round(builder.dispersion or 0, 9)
    return builder, data


def there_and_back(make):
    """Swift -> import -> export -> Swift: equal, and Swift goes on."""
    name = make.__name__
    theirs = make(name)
    ours, back = path(f"{name}-ours.builder"), path(f"{name}-back.builder")
    virga(ours, "import", theirs)
    virga(ours, "export", back)
    before, want = as_data(theirs)
    after, found = as_data(back)
    if name == "increasing":
        # Swift leaves the counts as they were before the partitions were doubled.
        graph = want["_dispersion_graph"]
        want["_dispersion_graph"] = {tier: [2 * count for count in counts] for tier, counts in graph.items()}
    for key in want:
        same(f"{name}, {key}", found[key], want[key])
    for dev in after._remove_devs:
        if after.devs[dev["id"]] is not dev:
            sys.exit(f"{name}: device {dev['id']} marked for removal is a copy")
    if before._replica2part2dev:
        same_figures(name, ours, after)
        same_ring(name, ours, theirs)
        swift(back, "validate")
        if name != "increasing":
            swift(back, "rebalance", "--seed", "4", "--force", "--format-version", "2")
            go_on(name, ours, before)
            virga(ours, "export", back, "--force")
            swift(back, "validate")
            swift(back, "rebalance", "--seed", "5", "--force", "--format-version", "2")
    RingBuilder.load(back)
    return 1


def same_figures(name, ours, builder):
    said = json.loads(virga(ours, "--json"))
    same(f"{name}, version", said["version"], builder.version)
    if abs(said["balance"] - builder.get_balance()) > 1e-6:
        sys.exit(f"{name}: Virga's balance {said['balance']}, Swift's {builder.get_balance()}")
    virga(ours, "validate")


def ring_data(file):
    """Table and devices of a ring file, without what only builders use."""
    ring = RingData.load(file)
    devs = [dev and {key: value for key, value in dev.items() if key not in ("parts", "parts_wanted")}
            for dev in ring.devs]
    return [list(row) for row in ring._replica2part2dev_id], devs, ring._part_shift, ring.next_part_power


def same_ring(name, ours, theirs):
    """Both tools write the same ring from the same builder."""
    # Format 1 has two bytes for a device number.
    form = ["--format-version", "2" if name == "wide" else "1"]
    virga(ours, "write_ring", *form)
    swift(theirs, "write_ring", *form)
    same(f"{name}, ring", ring_data(ours.replace(".builder", ".ring.gz")),
         ring_data(theirs.replace(".builder", ".ring.gz")))


def go_on(name, ours, before):
    """Virga rebalances what it took over: what Swift moved just now rests, what was to go is gone."""
    virga(ours, "rebalance", "--force", "--format-version", "2")
    moved = path(f"{name}-moved.builder")
    virga(ours, "export", moved)
    after = RingBuilder.load(moved)
    after.validate()
    gone = {dev["id"] for dev in before._remove_devs}
    for part in range(before.parts):
        old, new = set(before.get_part_devices_ids(part)), set(after.get_part_devices_ids(part))
        if new & gone:
            sys.exit(f"{name}: partition {part} is still on a removed device")
        if before.min_part_hours > before._last_part_moves[part] and old - gone - new:
            sys.exit(f"{name}: partition {part} moved although it has to rest")


def device_ids(builder, part):
    return [row[part] for row in builder._replica2part2dev if part < len(row)]


RingBuilder.get_part_devices_ids = device_ids


# --- composite rings ---

def component(region):
    file = path(f"region{region}.builder")
    swift(file, "create", "6", "2", "1")
    for number in range(4):
        swift(file, "add", f"r{region}z{number}-10.{region}.0.{number}:6200/sda", "100")
    swift(file, "rebalance", "--seed", str(region))
    return file


def composed_alike():
    """The same components make the same ring, and each reads the other's file."""
    theirs = [component(region) for region in (1, 2, 3)]
    composite = CompositeRingBuilder(theirs)
    composite.compose().save(path("theirs.ring.gz"))
    composite.save(path("theirs.composite"))
    ours = [file.replace("region", "ours") for file in theirs]
    for mine, other in zip(ours, theirs):
        virga(mine, "import", other)
    virga(path("ours.composite"), "compose", *ours, "--output", path("ours.ring.gz"))
    same("composite ring", ring_data(path("ours.ring.gz")), ring_data(path("theirs.ring.gz")))
    loaded = CompositeRingBuilder.load(path("ours.composite"))
    same("components", loaded.components, composite.components)
    same("composite version", loaded.version, composite.version)
    same("builder files", loaded._builder_files, ours)
    with open(path("ours.composite")) as mine, open(path("theirs.composite")) as other:
        same("keys", sorted(json.load(mine)), sorted(json.load(other)))

    # Swift's composite goes on with us, its components read as they are.
    said = json.loads(virga(path("theirs.composite"), "show", "--json"))
    same("states", [it["state"] for it in said["components"]], ["composed"] * 3)
    unchanged = subprocess.run([VIRGA, "ring", path("theirs.composite"), "compose", "--output", path("x.ring.gz")],
                               capture_output=True, text=True)
    if unchanged.returncode != 2 or "no component has changed" not in unchanged.stderr:
        sys.exit(f"composing again: {unchanged}")
    swift(theirs[1], "add", "r2z9-10.2.0.9:6200/sda", "100")
    swift(theirs[1], "pretend_min_part_hours_passed")
    swift(theirs[1], "rebalance", "--seed", "9")
    virga(path("theirs.composite"), "compose", "--output", path("again.ring.gz"))
    composite = CompositeRingBuilder.load(path("theirs.composite"))
    same("version", composite.version, 2)
    composite.compose(force=True).save(path("theirs.ring.gz"))
    same("ring composed again", ring_data(path("again.ring.gz")), ring_data(path("theirs.ring.gz")))
    return ours


def rebalanced_together(ours):
    """A partition moves in one component at most, and Swift loads the results."""
    for region, file in enumerate(ours, start=1):
        virga(file, "add", f"r{region}z7-10.{region}.0.7:6200/sda", "100")
        virga(file, "pretend_min_part_hours_passed")
        virga(file, "export", file + ".before")
    virga(path("ours.composite"), "rebalance", "--seed", "1")
    moved = [0] * 64
    for file in ours:
        virga(file, "export", file + ".after")
        before, after = RingBuilder.load(file + ".before"), RingBuilder.load(file + ".after")
        after.validate()
        for part in range(64):
            moved[part] += set(device_ids(before, part)) != set(device_ids(after, part))
    if max(moved) != 1:
        sys.exit(f"moves of each partition over all components: {moved}")
    virga(path("ours.composite"), "compose", "--output", path("ours.ring.gz"))
    same("composite version", CompositeRingBuilder.load(path("ours.composite")).version, 2)
    RingData.load(path("ours.ring.gz"))


count = sum(there_and_back(make) for make in (plain, fractional, increasing, fresh, wide))
rebalanced_together(composed_alike())
print(f"{count} builders equal, composite rings equal")
