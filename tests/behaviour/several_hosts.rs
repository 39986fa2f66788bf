use std::process::Command;

use virga_tests::change::faults;
use virga_tests::cluster::Cluster;
use virga_tests::inventory::Inventory;
use virga_tests::process::{binary, wait_until};

#[test]
fn objects_go_in_and_out_through_hosts_that_share_only_secrets_and_rings() {
    let mut cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    swift.put("box/small", b"a few bytes");
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    swift.put("box/large", &large);
    assert_eq!(swift.get("box/small").body, b"a few bytes");
    assert!(swift.get("box/large").body == large);
    assert_eq!(swift.get("box").text(), "large\nsmall\n");
    // Only identity keeps records; the proxy's host has none to lose.
    cluster.restart_proxy(0);
    assert_eq!(swift.get("box/small").body, b"a few bytes");
    let proxy = cluster.proxy_status(0);
    assert_eq!(proxy["roles"], serde_json::json!(["proxy"]), "{proxy}");
    assert_eq!(proxy["parts"]["rings"]["state"], "ready", "{proxy}");
    let store = cluster.store_status(0);
    assert_eq!(store["devices"][0]["device"], "d1", "{store}");
    let rings = store["rings"].as_array().expect("rings");
    assert!(rings.iter().all(|ring| ring["devices"] == 4), "{store}");
    let workers = store["workers"].as_array().expect("workers");
    assert!(workers.iter().any(|w| w["worker"] == "reconcile"), "{store}");
}

#[test]
fn whoever_waits_hears_when_all_is_well_and_else_what_is_missing() {
    let mut cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    swift.put("box/o", b"x");
    let data = cluster.proxy_data(0).to_str().expect("UTF-8").to_owned();
    let wait = |seconds: &str| {
        let args = ["status", "--data", &data, "--wait", "--timeout", seconds];
        let out = Command::new(binary()).args(args).output().expect("virga runs");
        let said = [out.stdout, out.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        (out.status.code(), said.concat())
    };
    let (code, said) = wait("60");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all is well"), "{said}");
    cluster.kill_store(1);
    let (code, said) = wait("3");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{} is away", cluster.node(1))), "{said}");
    // Well again means: what it missed has been brought to it.
    swift.put("box/missed", b"by one host");
    cluster.start_store(1);
    let (code, said) = wait("60");
    assert_eq!(code, Some(0), "{said}");
    let inventory = Inventory::of(cluster.controller_data());
    let faults = faults(&inventory, "object", &cluster.builders().read("object"));
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn tokens_stay_good_while_rotated_keys_reach_the_proxy() {
    let cluster = Cluster::start();
    let old = cluster.demo();
    old.put("box", b"");
    old.put("box/o", b"x");
    // The key that seals next was copied with the first ones.
    cluster.rotate_token_keys(&[7; 32]);
    let controller_log =
        || std::fs::read_to_string(cluster.controller_data().join("log")).unwrap_or_default();
    wait_until("identity reads its keys", || {
        controller_log().matches("SIGHUP").count() == 1
    });
    assert_eq!(cluster.demo().get("box/o").status, 200);
    // After a second one the proxy needs another copy.
    cluster.rotate_token_keys(&[8; 32]);
    wait_until("identity reads its keys", || {
        controller_log().matches("SIGHUP").count() == 2
    });
    let mut fresh = cluster.demo();
    wait_until("tokens are sealed with the new key", || {
        fresh = cluster.demo();
        fresh.get("box/o").status == 401
    });
    cluster.copy_token_keys();
    cluster.hang_up_proxy(0);
    wait_until("the proxy knows the new key", || fresh.get("box/o").status == 200);
    assert_eq!(old.get("box/o").status, 200);
}

#[test]
fn the_proxy_says_which_host_is_away_and_which_does_not_know_the_secret() {
    let mut cluster = Cluster::start();
    let trouble = |cluster: &Cluster| {
        let status = cluster.proxy_status(0);
        let nodes = status["nodes"].as_array().expect("nodes").clone();
        assert_eq!(nodes.len(), 4, "{status}");
        let away = nodes.iter().filter_map(|n| n["trouble"].as_str());
        away.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert!(trouble(&cluster).is_empty());
    cluster.kill_store(1);
    wait_until("it is away", || trouble(&cluster).len() == 1);
    let secrets = cluster.store_data(1).join("secrets/cluster.json");
    let text = std::fs::read_to_string(&secrets).expect("the secrets");
    let (head, tail) = text.split_once("\"node_secret\": \"").expect("the secret");
    let (secret, tail) = tail.split_once('"').expect("its end");
    let other: String = secret.chars().rev().collect();
    std::fs::write(&secrets, format!("{head}\"node_secret\": \"{other}\"{tail}")).expect("the secrets");
    cluster.start_store(1);
    wait_until("the wrong secret is named", || {
        trouble(&cluster).iter().any(|why| why.contains("secret"))
    });
}

#[test]
fn a_new_ring_is_used_after_sighup_and_a_bad_one_never() {
    let cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    let version = || {
        let status = cluster.proxy_status(0);
        let rings = status["rings"].as_array().expect("rings").clone();
        let object = rings.iter().find(|r| r["ring"] == "object").expect("the ring");
        object["version"].as_u64().expect("a number")
    };
    let state = || cluster.proxy_status(0)["parts"]["rings"]["state"].clone();
    let (before, file) = (version(), cluster.proxy_rings().join("object.ring.gz"));

    std::fs::write(&file, b"not a ring").expect("a file");
    cluster.hang_up_proxy(0);
    wait_until("the bad ring is noticed", || state() == "degraded");
    assert_eq!(version(), before);
    assert_eq!(swift.put("box/still", b"here").status, 201);
    assert!(cluster.proxy_log().contains("what is in use stays"));

    let builders = cluster.builders();
    builders.run("object", &["set_weight", "d0", "90"]);
    builders.run("object", &["pretend_min_part_hours_passed"]);
    builders.rebalance("object");
    cluster.distribute_to_proxy("object", 0);
    wait_until("the new ring is in use", || version() > before);
    assert_eq!(state(), "ready");
    assert_eq!(swift.get("box/still").body, b"here");
}

#[test]
fn what_a_host_lacks_is_said_with_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("virga.toml");
    let run = |role: &str, text: &str| {
        std::fs::write(&config, format!("data = \".\"\n{text}")).expect("a file");
        let path = config.to_str().expect("UTF-8");
        let out = Command::new(binary())
            .args(["run", "--config", path, "--role", role])
            .output()
            .expect("virga runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code(), said)
    };
    let (code, said) = run("pony", "");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("pony") && said.contains("object-server"), "{said}");
    let (code, said) = run("object-server", "");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("[[devices]]"), "{said}");
    let (code, said) = run("proxy", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cluster.json") && said.contains("role identity"),
        "{said}"
    );
    let secrets = r#"{"cluster_id":"6f6f0b6e-3f0c-4a3c-9d0f-0d3e9b8f2a11","hash_prefix":"a","hash_suffix":"b",
        "node_secret":"0123456789abcdef0123456789abcdef"}"#;
    std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
    std::fs::write(folder.path().join("secrets/cluster.json"), secrets).expect("a file");
    let (code, said) = run("proxy", "");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("ring.gz") && said.contains("virga ring") && said.contains("copy"),
        "{said}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let (code, said) = run("identity", &format!("front_door = \"{address}\"\n"));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&address.to_string()) && said.contains("front_door"),
        "{said}"
    );
}
