//! Contents as Keystone 30 assembles them, both ways.
use super::*;

const USER: &str = "00112233445566778899aabbccddeeff";
const PROJECT_ID: &str = "ffeeddccbbaa99887766554433221100";
const DOMAIN_ID: &str = "0123456789abcdef0123456789abcdef";
const ISSUED: u64 = 1_766_400_000;

const UNSCOPED: &str =
    "950092c3c41000112233445566778899aabbccddeeff02cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const DOMAIN: &str = "960192c3c41000112233445566778899aabbccddeeff02c4100123456789abcdef0123456789abcdefcb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const DEFAULT_DOMAIN: &str = "960192c3c41000112233445566778899aabbccddeeff02a764656661756c74cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const PROJECT: &str = "960292c3c41000112233445566778899aabbccddeeff0692c3c410ffeeddccbbaa99887766554433221100cb41da524b8400000092c410000102030405060708090a0b0c0d0e0fc410101112131415161718191a1b1c1d1e1f";
const TRUST: &str = "970392c3c41000112233445566778899aabbccddeeff0292c3c410ffeeddccbbaa99887766554433221100cb41da524b8400000091c410000102030405060708090a0b0c0d0e0fc410aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const FEDERATED_UNSCOPED: &str = "980492c2d94065656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565109292c3c410dddddddddddddddddddddddddddddddd92c2a5737461666692c2a4636f7270a66f70656e6964cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const FEDERATED_PROJECT: &str = "990592c2d940656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565651092c3c410ffeeddccbbaa998877665544332211009292c3c410dddddddddddddddddddddddddddddddd92c2a5737461666692c2a4636f7270a66f70656e6964cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const FEDERATED_DOMAIN: &str = "990692c2d940656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565656565651092c3c4100123456789abcdef0123456789abcdef9292c3c410dddddddddddddddddddddddddddddddd92c2a5737461666692c2a4636f7270a66f70656e6964cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const OAUTH: &str = "970792c3c41000112233445566778899aabbccddeeff0892c3c410ffeeddccbbaa9988776655443322110092c3c410cccccccccccccccccccccccccccccccccb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const SYSTEM: &str = "960892c3c41000112233445566778899aabbccddeeff02a3616c6ccb41da524b8400000091c410000102030405060708090a0b0c0d0e0f";
const APP_CREDENTIAL: &str = "970992c3c41000112233445566778899aabbccddeeff2092c3c410ffeeddccbbaa99887766554433221100cb41da524b8400000091c410000102030405060708090a0b0c0d0e0f92c3c410bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OAUTH2: &str = "980a92c3c41000112233445566778899aabbccddeeff0292c3c410ffeeddccbbaa9988776655443322110092c3c4100123456789abcdef0123456789abcdefcb41da524b8400000091c410000102030405060708090a0b0c0d0e0f92c2a178";

fn usual(scope: Scope) -> Payload {
    Payload {
        user_id: USER.into(),
        methods: vec!["password".into()],
        scope,
        issued_at: Micros(ISSUED * 1_000_000),
        expires_at: Micros((ISSUED + 3600) * 1_000_000),
        audit_ids: vec!["AAECAwQFBgcICQoLDA0ODw".into()],
        roles: None,
        delegation: None,
        federation: None,
        presented_by: None,
    }
}

fn federated(scope: Scope) -> Payload {
    Payload {
        user_id: "ee".repeat(32),
        methods: vec!["mapped".into()],
        federation: Some(Federation {
            identity_provider: "corp".into(),
            protocol: "openid".into(),
            groups: vec!["d".repeat(32), "staff".into()],
        }),
        ..usual(scope)
    }
}

fn delegated(method: &str, delegation: Delegation) -> Payload {
    Payload {
        methods: vec![method.into()],
        delegation: Some(delegation),
        ..usual(Scope::Project(PROJECT_ID.into()))
    }
}

fn vectors() -> Vec<(&'static str, Payload)> {
    let project = || Scope::Project(PROJECT_ID.into());
    let domain = || Scope::Domain(DOMAIN_ID.into());
    let rescoped = Payload {
        methods: vec!["password".into(), "token".into()],
        audit_ids: vec!["AAECAwQFBgcICQoLDA0ODw".into(), "EBESExQVFhcYGRobHB0eHw".into()],
        ..usual(project())
    };
    vec![
        (UNSCOPED, usual(Scope::Unscoped)),
        (DOMAIN, usual(domain())),
        (DEFAULT_DOMAIN, usual(Scope::Domain("default".into()))),
        (PROJECT, rescoped),
        (
            TRUST,
            delegated("password", Delegation::Trust { id: "a".repeat(32) }),
        ),
        (FEDERATED_UNSCOPED, federated(Scope::Unscoped)),
        (FEDERATED_PROJECT, federated(project())),
        (FEDERATED_DOMAIN, federated(domain())),
        (
            OAUTH,
            delegated("oauth1", Delegation::AccessToken { id: "c".repeat(32) }),
        ),
        (SYSTEM, usual(Scope::System)),
        (
            APP_CREDENTIAL,
            delegated(
                "application_credential",
                Delegation::ApplicationCredential {
                    id: "b".repeat(32),
                    ruled: true,
                },
            ),
        ),
    ]
}

fn opened(content: &str) -> Option<Payload> {
    let Value::Array(items) = Value::decode(&hex::decode(content).unwrap())? else {
        return None;
    };
    let [Value::Int(version), rest @ ..] = items.as_slice() else {
        return None;
    };
    decode(ISSUED, *version, rest)
}

#[test]
fn every_content_that_keystone_assembles_is_read() {
    for (content, payload) in vectors() {
        assert_eq!(opened(content), Some(payload), "{content}");
    }
}

#[test]
fn every_content_is_assembled_as_keystone_does() {
    for (content, payload) in vectors() {
        assert_eq!(hex::encode(encode(&payload)), content, "{payload:?}");
    }
}

#[test]
fn the_token_of_a_trust_names_the_trustee() {
    let mut token = delegated("password", Delegation::Trust { id: "a".repeat(32) });
    token.presented_by = Some(USER.into());
    token.user_id = "1".repeat(32);
    assert_eq!(hex::encode(encode(&token)), TRUST);
}

#[test]
fn a_protocol_of_its_own_name_counts_as_mapped() {
    let mut token = federated(Scope::Unscoped);
    token.methods = vec!["openid".into()];
    assert_eq!(hex::encode(encode(&token)), FEDERATED_UNSCOPED);
}

#[test]
fn a_token_bound_to_a_certificate_is_not_read() {
    assert_eq!(opened(OAUTH2), None);
}

#[test]
fn no_cut_or_changed_content_makes_the_decoder_panic() {
    for (content, _) in vectors() {
        let whole = hex::decode(content).unwrap();
        for at in 0..whole.len() {
            assert_eq!(opened(&hex::encode(&whole[..at])), None);
            for byte in [0x00, 0x80, 0x90, 0xc0, 0xc4, 0xd9, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = opened(&hex::encode(changed));
            }
        }
    }
}

#[test]
fn times_keep_their_microsecond() {
    for at in [0, 1, 1_766_400_300_123_456, 4_000_000_000_999_999] {
        assert_eq!(unpack_time(&pack_time(Micros(at))), Some(Micros(at)));
    }
    for odd in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        assert_eq!(unpack_time(&Value::Float(odd)), None);
    }
}
