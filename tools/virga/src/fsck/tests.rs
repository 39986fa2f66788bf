//! A check over nodes in memory that have been told different things.
use std::collections::BTreeMap;

use tokio::sync::mpsc;
use virga_node::clock::{Hlc, SystemClock};
use virga_object_wire::checked::Checked;
use virga_object_wire::node::Nodes;
use virga_object_wire::object::{PutObject, Source};
use virga_object_wire::twin::TwinNodes;
use virga_proxy::core::{CoreParts, NewObject, Rings, Settings};
use virga_ring::{DeviceId, HashPath, Ring, RingEpoch, RingInfo, Table};

use super::*;

struct Cloud {
    core: Core,
    nodes: Arc<TwinNodes>,
    ring: Arc<RingHandle>,
    hash: HashPath,
}

impl Cloud {
    fn new() -> Self {
        let device = |id: u32| Device {
            id: DeviceId(id),
            region: 1,
            zone: id,
            ip: format!("10.0.0.{id}"),
            port: 6200,
            replication_ip: String::new(),
            replication_port: 0,
            device: format!("d{id}"),
            weight: 1.0,
            meta: String::new(),
            extra: BTreeMap::new(),
        };
        let slots: Vec<u32> = (0..3)
            .flat_map(|row| (0..8).map(move |part| (part + row) % 4))
            .collect();
        let info = RingInfo {
            part_power: 3,
            ..RingInfo::default()
        };
        let table = Table::from_row_major(8, &slots).unwrap();
        let ring = Ring::new(info, (0..4).map(|id| Some(device(id))).collect(), table).unwrap();
        let ring = Arc::new(RingHandle::new(ring));
        let nodes = Arc::new(TwinNodes::for_devices(ring.current().devices()));
        let hash = HashPath::new("", "test").unwrap();
        let core = Core::new(CoreParts {
            rings: Rings {
                hash: hash.clone(),
                account: ring.clone(),
                container: ring.clone(),
                object: vec![(0, ring.clone())],
            },
            nodes: nodes.clone(),
            hlc: Arc::new(Hlc::new(Arc::new(SystemClock))),
            tasks: Tasks::new(),
            settings: Settings::default(),
        });
        Self {
            core,
            nodes,
            ring,
            hash,
        }
    }

    async fn put(&self, object: &str) -> ObjectName {
        let name = ObjectName::new("AUTH_a", "c", object).unwrap();
        let body = stream::iter([Ok(Bytes::from_static(b"bytes"))]);
        self.core
            .put_object(&name, NewObject::new("a/b"), body)
            .await
            .unwrap();
        name
    }

    /// Where a name lies, on each of its devices.
    fn places(&self, container: &str, object: Option<&str>) -> Vec<(Arc<dyn ObjectNode>, At)> {
        let hash = self.hash.hash("AUTH_a", Some(container), object);
        let ring = self.ring.current();
        let partition = ring.partition(&hash);
        ring.primaries(partition)
            .map(|(_, device)| {
                let at = At {
                    device: device.device.as_str().into(),
                    policy: 0,
                    partition,
                    hash,
                    ring: RingEpoch::NONE,
                };
                (self.nodes.node(device), at)
            })
            .collect()
    }

    async fn check(&self, repair: bool) -> (Vec<(Kind, String, bool)>, Summary) {
        let nodes = self.nodes.clone();
        let (to, mut from) = mpsc::channel(4);
        let check = Check {
            core: self.core.clone(),
            rings: vec![(0, self.ring.clone())],
            nodes: Box::new(move |device| Some(nodes.node(device))),
            call: FsckCall {
                account: "AUTH_a".into(),
                repair,
            },
            to,
        };
        let mut findings = Vec::new();
        let mut end = None;
        let listen = async {
            while let Some(told) = from.recv().await {
                match told {
                    Told::Finding(found) => findings.push((found.kind, found.path, found.repaired)),
                    Told::End(summary) => end = Some(summary),
                    Told::Failed(why) => panic!("{why}"),
                    Told::Progress { .. } => {}
                }
            }
        };
        tokio::join!(check.run(), listen);
        (findings, end.expect("an end"))
    }
}

#[tokio::test]
async fn differences_are_found_both_ways_and_repaired() {
    let cloud = Cloud::new();
    let container = ContainerName::new("AUTH_a", "c").unwrap();
    cloud
        .core
        .put_container(&container, None, Vec::new())
        .await
        .unwrap();
    for object in ["good", "model"] {
        cloud.put(object).await;
    }
    assert_eq!(cloud.check(false).await.0, [], "all is well so far");
    // A row that no object stands behind.
    let model = cloud
        .core
        .head_object(&container.object("model").unwrap(), true)
        .await
        .unwrap();
    let ghost = ObjectRow {
        name: "ghost".into(),
        ..ObjectRow::of(&model).unwrap()
    };
    for (node, at) in cloud.places("c", None) {
        node.put_object_rows(&at, vec![ghost.clone()]).await.unwrap();
    }
    // An object that no row names.
    for (node, at) in cloud.places("c", Some("lost")) {
        let mut meta = model.meta.clone();
        meta.path = "AUTH_a/c/lost".into();
        let put = PutObject {
            version: model.version,
            size: model.size,
            blake3: model.blake3,
            meta,
            handoff_for: None,
            source: Source::default(),
        };
        let body = Checked::seal(Bytes::from_static(b"bytes"));
        node.put(&at, put, body).await.unwrap();
    }
    let expected = |repaired| {
        [
            (Kind::RowWithoutObject, "AUTH_a/c/ghost".to_owned(), repaired),
            (Kind::ObjectWithoutRow, "AUTH_a/c/lost".to_owned(), repaired),
        ]
    };
    let (found, summary) = cloud.check(false).await;
    assert_eq!(found, expected(false), "{summary:?}");
    assert_eq!((summary.findings, summary.repaired), (2, 0));
    let (found, summary) = cloud.check(true).await;
    assert_eq!(found, expected(true), "{summary:?}");
    let (found, summary) = cloud.check(false).await;
    assert_eq!(found, []);
    assert_eq!((summary.containers, summary.rows, summary.objects), (1, 3, 3));
}
