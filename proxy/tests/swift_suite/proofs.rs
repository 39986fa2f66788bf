//! Roots in headers, and proofs of ranges against them.
use super::door::{ALICE, Door, MALLORY};
use virga_proxy::proof::{MAX_LEN, Proof, Says, tree};

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251 + i / 70_000) as u8).collect()
}

fn root(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

async fn with(name: &str, body: &[u8]) -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    let put = door
        .alice(&format!("PUT /v1/AUTH_p/c/{name}"), &[], body, 201)
        .await;
    assert_eq!(put.header("x-object-blake3"), Some(root(body).as_str()));
    door
}

/// Whether a proof shows that bytes from `start` on are `piece`.
fn shows(proof: &Proof, start: u64, piece: &[u8]) -> bool {
    proof.shape().range() == (start..start + piece.len() as u64)
        && proof.parts().iter().all(|part| {
            let at = |offset: u64| (offset - start) as usize;
            let here = &piece[at(part.bytes.start)..at(part.bytes.end)];
            match part.says {
                Says::Bytes(bytes) => here == bytes,
                Says::Value(value) => tree::value(part.bytes.start, here) == value,
            }
        })
}

#[tokio::test]
async fn answers_about_an_object_name_the_root_of_its_bytes() {
    for length in [0, 1, 1024, 1_048_576, 1_048_577, 3_500_000] {
        let body = bytes(length);
        let door = with("o", &body).await;
        let root = root(&body);
        for (line, headers, status) in [
            ("HEAD /v1/AUTH_p/c/o", &[][..], 200),
            ("GET /v1/AUTH_p/c/o", &[], 200),
            (
                "GET /v1/AUTH_p/c/o",
                &[("Range", "bytes=0-0")],
                if length == 0 { 416 } else { 206 },
            ),
            ("GET /v1/AUTH_p/c/o", &[("If-None-Match", "*")], 304),
        ] {
            let reply = door.alice(line, headers, b"", status).await;
            assert_eq!(reply.header("x-object-blake3"), Some(root.as_str()), "{line}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_the_root() {
    let door = with("o", b"x").await;
    let any = [("X-Container-Meta-Access-Control-Allow-Origin", "*")];
    door.alice("POST /v1/AUTH_p/c", &any, b"", 204).await;
    let reply = door
        .alice("GET /v1/AUTH_p/c/o", &[("Origin", "http://page")], b"", 200)
        .await;
    let exposed = reply.header("access-control-expose-headers").unwrap();
    assert!(
        exposed.split(", ").any(|name| name == "x-object-blake3"),
        "{exposed}"
    );
}

#[tokio::test]
async fn any_range_is_proven_in_a_few_kilobytes() {
    for length in [
        1, 1024, 65_535, 65_537, 1_048_575, 1_048_576, 1_048_577, 3_500_000, 4_194_304,
    ] {
        let body = bytes(length);
        let door = with("o", &body).await;
        let end = length - 1;
        for (from, to) in [
            (0, end),
            (0, 0),
            (end, end),
            (end / 2, end),
            (end / 3, end / 2),
            (end.min(1024), end.min(1_048_577)),
        ] {
            let line = format!("GET /v1/AUTH_p/c/o?proof=blake3&range={from}-{to}");
            let reply = door.alice(&line, &[], b"", 200).await;
            assert_eq!(reply.header("content-type"), Some("application/vnd.virga.proof"));
            assert_eq!(reply.header("x-object-blake3"), Some(root(&body).as_str()));
            assert!(reply.body.len() <= MAX_LEN);
            let proof = Proof::decode(&reply.body).unwrap();
            assert_eq!(hex::encode(proof.root()), root(&body), "{length}: {line}");
            assert_eq!(proof.shape().size(), length as u64);
            assert!(shows(&proof, from as u64, &body[from..=to]), "{length}: {line}");
        }
    }
}

#[tokio::test]
async fn a_proof_is_of_the_whole_without_a_range_and_of_nothing_that_is_not_there() {
    let body = bytes(5000);
    let door = with("o", &body).await;
    let whole = door.alice("GET /v1/AUTH_p/c/o?proof=blake3", &[], b"", 200).await;
    assert!(shows(&Proof::decode(&whole.body).unwrap(), 0, &body));
    let last = door
        .alice("GET /v1/AUTH_p/c/o?proof=blake3&range=-10", &[], b"", 200)
        .await;
    assert!(shows(&Proof::decode(&last.body).unwrap(), 4990, &body[4990..]));
    for (line, headers, status) in [
        ("GET /v1/AUTH_p/c/o?proof=blake3&range=5000-", &[][..], 416),
        ("GET /v1/AUTH_p/c/o?proof=blake3&range=x", &[], 400),
        ("GET /v1/AUTH_p/c/o?proof=blake3&range=0-1,3-4", &[], 400),
        ("GET /v1/AUTH_p/c/o?proof=md5", &[], 400),
        ("GET /v1/AUTH_p/c/o?proof", &[], 400),
        ("GET /v1/AUTH_p/c/other?proof=blake3", &[], 404),
        ("GET /v1/AUTH_p/c/o?proof=blake3", &[("If-Match", "other")], 412),
        ("HEAD /v1/AUTH_p/c/o?proof=blake3", &[], 200),
    ] {
        let reply = door.alice(line, headers, b"", status).await;
        assert_ne!(
            reply.header("content-type"),
            Some("application/vnd.virga.proof"),
            "{line}"
        );
    }
    let line = "GET /v1/AUTH_p/c/o?proof=blake3";
    assert_eq!(door.call(MALLORY, line, &[], b"").await.status, 403);
    assert_eq!(door.call("", line, &[], b"").await.status, 401);
    assert_eq!(door.call(ALICE, line, &[], b"").await.status, 200);
}

#[tokio::test]
async fn what_is_made_of_other_objects_has_no_root_and_no_proof() {
    let door = with("part", b"part").await;
    let manifest = br#"[{"path": "/c/part"}]"#;
    let put = door
        .alice("PUT /v1/AUTH_p/c/slo?multipart-manifest=put", &[], manifest, 201)
        .await;
    assert_eq!(put.header("x-object-blake3"), None);
    let dynamic = [("X-Object-Manifest", "c/part")];
    let put = door.alice("PUT /v1/AUTH_p/c/dlo", &dynamic, b"own", 201).await;
    assert_eq!(put.header("x-object-blake3"), None);
    for name in ["slo", "dlo"] {
        for method in ["GET", "HEAD"] {
            let reply = door
                .alice(&format!("{method} /v1/AUTH_p/c/{name}"), &[], b"", 200)
                .await;
            assert_eq!(reply.header("x-object-blake3"), None, "{method} {name}");
        }
        door.alice(&format!("GET /v1/AUTH_p/c/{name}?proof=blake3"), &[], b"", 400)
            .await;
    }
    let slo = door
        .alice("GET /v1/AUTH_p/c/slo?multipart-manifest=get", &[], b"", 200)
        .await;
    assert_eq!(slo.header("x-object-blake3"), None);
    // What a dynamic manifest holds itself is sent as it is stored.
    let own = door
        .alice("GET /v1/AUTH_p/c/dlo?multipart-manifest=get", &[], b"", 200)
        .await;
    assert_eq!(own.header("x-object-blake3"), Some(root(b"own").as_str()));
}

#[tokio::test]
async fn a_link_has_the_root_and_the_proof_of_what_it_leads_to() {
    let body = bytes(3000);
    let door = with("o", &body).await;
    let put = door
        .alice("PUT /v1/AUTH_p/c/link", &[("X-Symlink-Target", "c/o")], b"", 201)
        .await;
    assert_eq!(put.header("x-object-blake3"), None);
    let reply = door.alice("HEAD /v1/AUTH_p/c/link", &[], b"", 200).await;
    assert_eq!(reply.header("x-object-blake3"), Some(root(&body).as_str()));
    let reply = door
        .alice("GET /v1/AUTH_p/c/link?proof=blake3&range=1-2000", &[], b"", 200)
        .await;
    assert!(shows(&Proof::decode(&reply.body).unwrap(), 1, &body[1..=2000]));
    let copied = [("X-Copy-From", "c/o")];
    let copy = door.alice("PUT /v1/AUTH_p/c/copy", &copied, b"", 201).await;
    assert_eq!(copy.header("x-object-blake3"), Some(root(&body).as_str()));
}
