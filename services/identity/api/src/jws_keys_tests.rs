//! Signed tokens: Keystone's own by test vectors, ours by properties.
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Made by Keystone 30: `create_jws_keypair` and `JWSFormatter.create_token`.
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/BvnLMIssZCcEoZwcFvZsoiOXdat
fKU5X2uisTrlx7NK2jkJKxhUTuhAVr3HdPMQZU9K/rhc5V7gPy4vqsa/iA==
-----END PUBLIC KEY-----
";
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtXv3thG7BTcD4VDT
E6/fob/XV+BqZnf/epZfIIskGjWhRANCAAT8G+cswiyxkJwShnBwW9myiI5d1q18
pTlfa6KxOuXHs0raOQkrGFRO6EBWvcd08xBlT0r+uFzlXuA/Li+qxr+I
-----END PRIVATE KEY-----
";
const PROJECT: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJjY2RkZWVmZiIsImlhdCI6MTc5NTQwNjE1MiwiZXhwIjoxNzY2NDAzNjAwLCJvcGVuc3RhY2tfbWV0aG9kcyI6WyJwYXNzd29yZCJdLCJvcGVuc3RhY2tfYXVkaXRfaWRzIjpbIkFBRUNBd1FGQmdjSUNRb0xEQTBPRHciXSwib3BlbnN0YWNrX3Byb2plY3RfaWQiOiJmZmVlZGRjY2JiYWE5OTg4Nzc2NjU1NDQzMzIyMTEwMCJ9.SO0YULm19-Ep9LVH4g2faLHJdeBT77Nw71njQWmA-zbrJ3wFFTKH82ZO9XzQ7-rH2OWIe1d-kmc27VT6_qK5tQ";
const FEDERATED: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlIiwiaWF0IjoxNzk1NDA2MTUyLCJleHAiOjE3NjY0MDM2MDAsIm9wZW5zdGFja19tZXRob2RzIjpbIm1hcHBlZCJdLCJvcGVuc3RhY2tfYXVkaXRfaWRzIjpbIkFBRUNBd1FGQmdjSUNRb0xEQTBPRHciXSwib3BlbnN0YWNrX2dyb3VwX2lkcyI6W3siaWQiOiJzdGFmZiJ9XSwib3BlbnN0YWNrX2lkcF9pZCI6ImNvcnAiLCJvcGVuc3RhY2tfcHJvdG9jb2xfaWQiOiJvcGVuaWQifQ.-UgTKUserYDytMinGrtj6s6CcT9S0P5cHlml95fAbMq5Ge5Imwq1g-P9a1ImUC5CLL2tucmPBCTasgzkAXCnMA";

/// A folder as Keystone has it.
fn keystones() -> (tempfile::TempDir, JwsKeys) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("public/public.pem", PUBLIC), ("private/private.pem", PRIVATE)] {
        let path = dir.path().join(name);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let keys = JwsKeys::open(dir.path(), 3).unwrap();
    (dir, keys)
}

fn token() -> Payload {
    Payload {
        user_id: "00112233445566778899aabbccddeeff".into(),
        methods: vec!["password".into()],
        scope: Scope::Project("ffeeddccbbaa99887766554433221100".into()),
        issued_at: Micros(1_795_406_152_000_000),
        expires_at: Micros(1_766_403_600_000_000),
        audit_ids: vec!["AAECAwQFBgcICQoLDA0ODw".into()],
        roles: None,
        delegation: None,
        federation: None,
        presented_by: None,
    }
}

#[test]
fn reads_the_tokens_that_keystone_signs_with_keystones_keys() {
    let (_dir, keys) = keystones();
    assert!(keys.can_sign());
    assert_eq!(keys.open_token(PROJECT), Ok(token()));
    let federated = keys.open_token(FEDERATED).unwrap();
    assert_eq!(federated.scope, Scope::Unscoped);
    let by = federated.federation.unwrap();
    assert_eq!(
        (by.identity_provider.as_str(), by.protocol.as_str()),
        ("corp", "openid")
    );
    assert_eq!(by.groups, ["staff"]);
}

#[test]
fn whatever_is_signed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let keys = JwsKeys::open_or_create(dir.path().join("jws"), 3).unwrap();
    let by = Federation {
        identity_provider: "corp".into(),
        protocol: "openid".into(),
        groups: vec!["g".into()],
    };
    let credential = Delegation::ApplicationCredential {
        id: "c".into(),
        ruled: false,
    };
    let delegations = [
        None,
        Some(credential),
        Some(Delegation::Trust { id: "t".into() }),
        Some(Delegation::AccessToken { id: "a".into() }),
    ];
    let scopes = [
        Scope::Unscoped,
        Scope::System,
        Scope::Domain("d".into()),
        Scope::Project("p".into()),
    ];
    for scope in scopes {
        for delegation in delegations.clone() {
            for federation in [None, Some(by.clone())] {
                let payload = Payload {
                    scope: scope.clone(),
                    delegation: delegation.clone(),
                    federation,
                    issued_at: Micros(1_766_400_000_123_456),
                    roles: Some(vec!["member".into()]),
                    presented_by: delegation.is_some().then(|| "trustee".to_owned()),
                    ..token()
                };
                let text = keys.sign(&payload).unwrap();
                assert_eq!(keys.open_token(&text), Ok(payload));
            }
        }
    }
}

#[test]
fn a_token_that_was_changed_or_signed_by_others_is_refused() {
    let (_dir, keys) = keystones();
    let dir = tempfile::tempdir().unwrap();
    let others = JwsKeys::open_or_create(dir.path(), 3).unwrap();
    assert_eq!(others.open_token(PROJECT), Err(TokenError::Invalid));
    for at in 0..PROJECT.len() {
        let mut changed = PROJECT.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character holds bits that count for nothing.
        assert!(
            at == PROJECT.len() - 1 || keys.open_token(&changed).is_err(),
            "position {at}"
        );
    }
    let parts: Vec<&str> = PROJECT.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for text in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        "..".into(),
        String::new(),
    ] {
        assert_eq!(keys.open_token(&text), Err(TokenError::Invalid), "{text}");
    }
}

#[test]
fn what_was_signed_before_a_rotation_is_good_while_its_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let keys = JwsKeys::open_or_create(dir.path(), 3).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("public")).unwrap();
    for entry in fs::read_dir(dir.path().join("public")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join("public").join(entry.file_name())).unwrap();
    }
    let elsewhere = JwsKeys::open(copy.path(), 3).unwrap();
    assert!(!elsewhere.can_sign() && elsewhere.sign(&token()).is_err());
    let old = keys.sign(&token()).unwrap();
    keys.rotate().unwrap();
    let new = keys.sign(&token()).unwrap();
    // The other host has the next public key already.
    for text in [&old, &new] {
        elsewhere.open_token(text).unwrap();
        keys.open_token(text).unwrap();
    }
    keys.rotate().unwrap();
    assert_eq!(
        keys.open_token(&old),
        Err(TokenError::Invalid),
        "three keys: the first is gone"
    );
    keys.open_token(&new).unwrap();
    assert_eq!(public_files(dir.path()).unwrap().0, [2, 3, 4]);
    let mode = fs::metadata(dir.path().join("private/private.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_start_keeps_the_keys_and_a_bad_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let keys = JwsKeys::open_or_create(dir.path(), 3).unwrap();
    let text = keys.sign(&token()).unwrap();
    JwsKeys::open_or_create(dir.path(), 3)
        .unwrap()
        .open_token(&text)
        .unwrap();
    fs::write(dir.path().join("public/9.pem"), "not a key").unwrap();
    let Err(KeyError::NotAPem(path)) = keys.reload() else {
        panic!("a bad key was read");
    };
    assert!(path.ends_with("public/9.pem"));
    keys.open_token(&text).unwrap();
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("public")).unwrap();
    assert!(matches!(JwsKeys::open(empty.path(), 3), Err(KeyError::Empty(_))));
}
