"""Makes the golden files swift-builder-*.pickle of this folder.

Run with the real Swift of tests/clients (its Python) to make them anew:
`"$(tests/clients/install --path)/bin/python" ring/golden/swift_builders.py`.
The old forms are built by hand, because no Python of today writes them.
"""
import os
import pickle
import struct
from array import array
from unittest import mock

from swift.common.ring import RingBuilder

HERE = os.path.dirname(os.path.abspath(__file__))
# Whole hours, so that the files stay the same.
FIRST, SECOND = 1_800_000_000, 1_800_000_000 + 5 * 3600


def write(name, content):
    with open(os.path.join(HERE, f"swift-builder-{name}.pickle"), "wb") as out:
        out.write(content)


def swift():
    """As Swift 2.38 saves it: fractional replicas, a hole, a removal mark, uneven move times."""
    builder = RingBuilder(3, 2.5, 1)
    builder._id = "00112233445566778899aabbccddeeff"
    for number in range(6):
        builder.add_dev({"region": 1 + number % 2, "zone": number, "ip": f"10.0.0.{number}", "port": 6200,
                         "replication_ip": f"10.1.0.{number}", "replication_port": 6300, "device": f"sd{number}",
                         "weight": 100.0 * (1 + number % 3), "meta": "\u00e9" if number == 2 else ""})
    with mock.patch("swift.common.ring.builder.time", return_value=FIRST):
        builder.rebalance(seed="1")
    builder.remove_dev(1)
    builder.set_overload(0.125)
    with mock.patch("swift.common.ring.builder.time", return_value=SECOND):
        builder.rebalance(seed="2")
    builder.remove_dev(4)
    return builder


def python2(value, packed):
    """Protocol 2 as Python 2 wrote it: texts as SHORT_BINSTRING; before 2.7 arrays packed into a BINSTRING."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        value = value.encode()
        return b"U" + bytes([len(value)]) + value
    if isinstance(value, array):
        content = value.tobytes()
        content = b"T" + struct.pack("<i", len(content)) + content if packed else python2(list(value), packed)
        return b"carray\narray\n" + python2(value.typecode, packed) + content + b"\x86R"
    if isinstance(value, tuple):
        return b"(" + b"".join(python2(member, packed) for member in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(python2(member, packed) for member in value) + b"e"
    return b"}(" + b"".join(python2(it, packed) for entry in value.items() for it in entry) + b"u"


def oldest():
    """Keys that early Swift did not have are missing; the move times are a plain list."""
    devs = [{"id": n, "zone": n, "ip": f"10.0.0.{n}", "port": 6000, "device": "sda", "weight": 1, "parts": 4,
             "parts_wanted": 0} for n in range(2)]
    return {"part_power": 2, "replicas": 2, "min_part_hours": 24, "parts": 4, "devs": devs, "devs_changed": False,
            "version": 3, "_replica2part2dev": [array("H", [0, 1, 0, 1]), array("H", [1, 0, 1, 0])],
            "_last_part_moves_epoch": FIRST, "_last_part_moves": [1, 2, 3, 255], "_last_part_gather_start": 0,
            "_remove_devs": []}


builder = swift()
builder.save(os.path.join(HERE, "swift-builder-2.pickle"))
for protocol in (0, 3, 4):
    write(str(protocol), pickle.dumps(builder.to_dict(), protocol=protocol))
for name, packed in (("python26", True), ("python27", False)):
    write(name, b"\x80\x02" + python2(oldest(), packed) + b".")
wide = builder.to_dict()
wide["_replica2part2dev"] = [array("I", row) for row in wide["_replica2part2dev"]]
write("wide", pickle.dumps(wide, protocol=2))
sliver = RingBuilder(2, 2.1, 1)  # a tenth of four partitions is none: the third row is empty
sliver._id = builder._id
for number in range(3):
    sliver.add_dev({"region": 1, "zone": number, "ip": f"10.0.0.{number}", "port": 6200, "device": "sda", "weight": 1.0})
with mock.patch("swift.common.ring.builder.time", return_value=FIRST):
    sliver.rebalance(seed="1")
write("sliver", pickle.dumps(sliver.to_dict(), protocol=2))
fresh = RingBuilder(4, 3, 1)
write("fresh", pickle.dumps(fresh.to_dict(), protocol=2))
