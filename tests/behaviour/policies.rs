use virga_tests::cloud::Cloud;
use virga_tests::swift::{Swift, agent};

#[test]
fn a_new_cloud_has_two_storage_policies_and_a_third_gets_its_ring_at_the_next_start() {
    let mut cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    let offered = |cloud: &Cloud| {
        let mut answer = agent()
            .get(format!("{}/info", cloud.object_url()))
            .call()
            .expect("an answer");
        let text = answer.body_mut().read_to_string().expect("a body");
        let info: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let policies = info["swift"]["policies"].as_array().expect("policies").clone();
        let name = |p: &serde_json::Value| p["name"].as_str().expect("a name").to_owned();
        policies.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(offered(&cloud), ["Policy-0", "Policy-1"]);
    assert_eq!(swift.send("PUT", "usual", &[], b"").status, 201);
    let chosen = [("x-storage-policy", "Policy-1")];
    assert_eq!(swift.send("PUT", "chosen", &chosen, b"").status, 201);
    for (name, policy) in [("usual", "Policy-0"), ("chosen", "Policy-1")] {
        swift.put(&format!("{name}/o"), name.as_bytes());
        assert_eq!(
            swift.send("HEAD", name, &[], b"").header("x-storage-policy"),
            policy
        );
    }

    cloud.reconfigure(|text| {
        let more =
            "[[proxy.swift.policies]]\nindex = 7\nname = \"archive\"\naliases = []\ndefault = false\n\n";
        let at = text.find("[[proxy.swift.policies]]").expect("the policies");
        text.insert_str(at, more);
    });
    assert_eq!(offered(&cloud).len(), 3);
    assert!(cloud.data().join("rings/object-7.ring.gz").exists());
    let swift = Swift::connect(&cloud);
    let archive = [("x-storage-policy", "archive")];
    assert_eq!(swift.send("PUT", "old", &archive, b"").status, 201);
    swift.put("old/o", b"old");
    for name in ["usual", "chosen", "old"] {
        assert_eq!(swift.get(&format!("{name}/o")).body, name.as_bytes());
    }
}
