"""Swift's own ring library against `virga ring`: each reads what the other wrote.

usage: ring_interop.py VIRGA FOLDER
For 10,000 names each way, the partition, the primaries and the first handoffs
have to be the same. Exits non-zero at the first difference.
"""
import itertools
import json
import os
import subprocess
import sys

from swift.common import utils
from swift.common.ring import Ring, RingBuilder

VIRGA, FOLDER = sys.argv[1], sys.argv[2]
NAMES = 10_000
HANDOFFS = 5
PREFIX, SUFFIX = "before", "after"


def virga(*args, given=None):
    """Runs `virga ring ARGS` and returns what it printed."""
    done = subprocess.run([VIRGA, "ring", *args], input=given, capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"virga ring {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def devices():
    """Uneven regions, zones and weights."""
    for region, zone, disk in itertools.product((1, 2), (1, 2, 3), range(3)):
        yield region, zone, f"10.{region}.{zone}.{disk}", 6200 + disk, f"sd{disk}", 100.0 * (1 + disk)


def compare(path, what):
    """Asks both sides for every name and compares."""
    utils.HASH_PATH_PREFIX = PREFIX.encode()
    utils.HASH_PATH_SUFFIX = SUFFIX.encode()
    ring = Ring(path)
    names = [f"AUTH_{n % 97:x}/container {n % 13}/object-é-{n}" for n in range(NAMES)]
    said = virga(path, "lookup", "--handoffs", str(HANDOFFS), "--hash-prefix", PREFIX, "--hash-suffix", SUFFIX,
                 given="\n".join(names) + "\n").splitlines()
    if len(said) != NAMES:
        sys.exit(f"{what}: {len(said)} answers for {NAMES} names")
    for name, line in zip(names, said):
        ours = json.loads(line)
        part, nodes = ring.get_nodes(*name.split("/", 2))
        more = list(itertools.islice(ring.get_more_nodes(part), HANDOFFS))
        theirs = {"part": part, "primary": [n["id"] for n in nodes], "handoffs": [n["id"] for n in more]}
        if theirs != {key: ours[key] for key in theirs}:
            sys.exit(f"{what}: {name}: Swift says {theirs}, Virga says {ours}")
    return NAMES


def ours_read_by_swift():
    """Virga builds and writes, Swift reads."""
    builder = os.path.join(FOLDER, "ours.builder")
    virga(builder, "create", "10", "3", "1")
    for region, zone, ip, port, disk, weight in devices():
        virga(builder, "add", f"r{region}z{zone}-{ip}:{port}/{disk}", str(weight))
    virga(builder, "rebalance", "--seed", "1")
    return compare(os.path.join(FOLDER, "ours.ring.gz"), "written by Virga")


def swifts_read_by_us():
    """Swift builds and writes, Virga reads."""
    builder = RingBuilder(10, 3, 1)
    for number, (region, zone, ip, port, disk, weight) in enumerate(devices()):
        builder.add_dev({"id": number, "region": region, "zone": zone, "ip": ip, "port": port,
                         "device": disk, "weight": weight})
    builder.rebalance(seed="1")
    path = os.path.join(FOLDER, "theirs.ring.gz")
    builder.get_ring().save(path)
    return compare(path, "written by Swift")


print(f"{ours_read_by_swift() + swifts_read_by_us()} names equal")
