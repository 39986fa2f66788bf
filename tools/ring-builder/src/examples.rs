//! Examples that `--help` shows under each verb.
//!
//! One constant a verb. They are to be copied and pasted: a test runs their
//! words through the parser.

pub(crate) const TOOL: &str = "\
A first ring:
  virga ring object.builder create 10 3 24
  virga ring object.builder add r1z1-10.0.0.1:6200/sda 100 r1z2-10.0.0.2:6200/sda 100 r1z3-10.0.0.3:6200/sda 100
  virga ring object.builder rebalance

Before every change of a ring in use:
  virga ring object.builder plan --used 30TiB --rate 50MB

Every verb explains itself: virga ring object.builder VERB --help";

pub(crate) const CREATE: &str = "\
Examples:
  virga ring object.builder create 18 3 24      2^18 partitions, 3 replicas, 24 hours of rest
  virga ring object.builder create 10 2.5 1     every second partition has a third replica

Take a part power that gives about 100 partitions a device when the cluster is
as large as it will ever be.";

pub(crate) const ADD: &str = "\
Examples:
  virga ring object.builder add r1z2-10.0.0.1:6200/sda 8000
  virga ring object.builder add r1z2-10.0.0.1:6200R10.1.0.1:6300/sda_tray-7 8000 r1z2-[fe80::1]:6200/sdb 8000
  virga ring object.builder add --region 1 --zone 2 --ip node7 --port 6200 --device sda --weight 8000

The weight is the device's share of the data; its size in GB is a good one.";

pub(crate) const REMOVE: &str = "\
Examples:
  virga ring object.builder remove d7
  virga ring object.builder remove 10.0.0.3 --yes      every device of that server

The data is made again from the other replicas. To take out a healthy device,
drain it first: set_weight d7 0, rebalance until it is empty, then remove.";

pub(crate) const SET_WEIGHT: &str = "\
Examples:
  virga ring object.builder set_weight d7 4000
  virga ring object.builder set_weight d7 0 d8 0
  virga ring object.builder set_weight --ip 10.0.0.3 --yes 4000";

pub(crate) const SET_REGION: &str = "\
Example:
  virga ring object.builder set_region 10.0.0.3 2 --yes";

pub(crate) const SET_ZONE: &str = "\
Example:
  virga ring object.builder set_zone 10.0.0.3 4 --yes";

pub(crate) const SET_INFO: &str = "\
Examples:
  virga ring object.builder set_info d7 10.0.0.9:6200
  virga ring object.builder set_info d7 /sdc_new-disk
  virga ring object.builder set_info --ip 10.0.0.3 --change-replication-ip 10.1.0.3 --yes
  virga ring object.builder write_ring";

pub(crate) const SEARCH: &str = "\
Examples:
  virga ring object.builder search z1
  virga ring object.builder search r1z2-10.0.0.1:6200/sda
  virga ring object.builder search _tray-7             the meta text contains tray-7
  virga ring object.builder search --weight 0";

pub(crate) const LIST_PARTS: &str = "\
Example:
  virga ring object.builder list_parts d7 d8";

pub(crate) const REBALANCE: &str = "\
Examples:
  virga ring object.builder plan              look first
  virga ring object.builder rebalance         does what the plan said
  virga ring object.builder rebalance --seed 7 --force
  virga ring object.builder rebalance --least-moves

Exit code 1: nothing to do, less than 1 % changed (see --force), or a note about
balance or dispersion. The old files stay in backups/.";

pub(crate) const PLAN: &str = "\
Examples:
  virga ring object.builder plan
  virga ring object.builder plan --used 30TiB --rate 50MB
  virga ring object.builder plan --with 'add r1z2-10.0.0.9:6200/sda 8000' --with 'set_weight d7 0'
  virga ring object.builder plan --json

rebalance, run now and with the same --seed, does exactly what step 1 says.";

pub(crate) const DURABILITY: &str = "\
Examples:
  virga ring object.ring.gz durability
  virga ring object.ring.gz durability --failures 5 --servers 2 --zones 1 --share 10%
  virga ring object.ring.gz durability --afr 2% --rebuild-hours 12";

pub(crate) const DIFF: &str = "\
Example:
  virga ring backups/1800000000.object.ring.gz diff object.ring.gz";

pub(crate) const DISPERSION: &str = "\
Examples:
  virga ring object.builder dispersion -v
  virga ring object.builder dispersion 'r1z\\d+$' -v     zones of region 1 only

Exit code 1: some tier holds more replicas of a partition than it should.";

pub(crate) const WRITE_RING: &str = "\
Examples:
  virga ring object.builder write_ring
  virga ring object.builder write_ring --format-version 2";

pub(crate) const WRITE_BUILDER: &str = "\
Example:
  virga ring object.ring.gz write_builder 24";

pub(crate) const SET_REPLICAS: &str = "\
Examples:
  virga ring object.builder set_replicas 4
  virga ring object.builder set_replicas 3.1      a step on the way to 4";

pub(crate) const SET_MIN_PART_HOURS: &str = "\
Example:
  virga ring object.builder set_min_part_hours 24

Longer than a full pass of replication takes: a partition whose replica has not
arrived yet must not move another one.";

pub(crate) const SET_OVERLOAD: &str = "\
Examples:
  virga ring object.builder set_overload 10%
  virga ring object.builder set_overload 0.1

dispersion says how much overload full dispersion takes.";

pub(crate) const SET_SCATTER_LIMIT: &str = "\
Examples:
  virga ring object.builder set_scatter_limit 32
  virga ring object.builder set_scatter_limit none

A device that shares partitions with fewer others loses data less often when
devices fail together, and is rebuilt from fewer sources. See: durability";

pub(crate) const PRETEND: &str = "\
Example:
  virga ring object.builder pretend_min_part_hours_passed

Only when replication has caught up with the last rebalance.";

pub(crate) const PREPARE: &str = "\
The whole increase:
  virga ring object.builder prepare_increase_partition_power
  virga ring object.builder write_ring            and copy the ring to all nodes; relink
  virga ring object.builder increase_partition_power
  virga ring object.builder write_ring            and copy the ring to all nodes; clean up
  virga ring object.builder finish_increase_partition_power
  virga ring object.builder write_ring            and copy the ring to all nodes";

pub(crate) const LOOKUP: &str = "\
Examples:
  echo AUTH_test/photos/cat.jpg | virga ring object.ring.gz lookup --swift-conf /etc/swift/swift.conf
  seq 0 1023 | virga ring object.ring.gz lookup --parts --handoffs 2";

pub(crate) const NODES: &str = "\
Examples:
  virga ring object.ring.gz nodes --hash-suffix changeme AUTH_test photos cat.jpg
  virga ring object.ring.gz nodes -a --swift-conf /etc/swift/swift.conf AUTH_test/photos/cat.jpg
  virga ring /etc/swift nodes -P gold AUTH_test photos cat.jpg
  virga ring object.ring.gz nodes -p 77";

pub(crate) const ANALYZE: &str = "\
Example:
  virga ring scenario.json analyze

The scenario is that of swift-ring-builder-analyzer:
  {\"part_power\": 12, \"replicas\": 3, \"overload\": 0.1, \"random_seed\": 1, \"rounds\": [
    [[\"add\", \"r1z1-10.0.0.1:6200/sda\", 100], [\"add\", \"r1z2-10.0.0.2:6200/sda\", 100]],
    [[\"set_weight\", 0, 50]], [[\"remove\", 1]], [[\"save\", \"after.builder\"]]]}";

pub(crate) const DRAW: &str = "\
Examples:
  virga ring object.builder draw ring.svg
  virga ring object.builder draw ring.svg --with 'add r1z2-10.0.0.9:6200/sda 8000'
  virga ring object.builder draw ring.svg --still        without what a rebalance would move
  virga ring object.ring.gz draw ring.svg                a ring whose builder is elsewhere: the same";

pub(crate) const IMPORT: &str = "\
Examples:
  virga ring object.builder import /etc/swift/object.builder
  virga ring object.builder import object.builder --force      in place; the old one stays in backups/

The pickle is read, never run. Devices, partitions, move times, overload,
removal marks, version and id come over.";

pub(crate) const EXPORT: &str = "\
Example:
  virga ring object.builder export /etc/swift/object.builder --force";

pub(crate) const COMPOSE: &str = "\
Examples:
  virga ring object.composite compose region1.builder region2.builder --output object.ring.gz
  virga ring object.composite                     what it is made of, and what has changed since
  virga ring object.composite rebalance           all components; no partition moves in two of them
  virga ring object.composite compose --output object.ring.gz      after that";
