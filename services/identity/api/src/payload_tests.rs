//! Tokens: Keystone's own by test vectors, ours by properties.
use proptest::prelude::*;

use super::*;
use crate::fernet::Key;
use crate::keys::KeySet;

const USER: &str = "00112233445566778899aabbccddeeff";
const PROJECT: &str = "ffeeddccbbaa99887766554433221100";
/// Audit ids of the bytes 0..16 and 16..32.
const AUDIT: [&str; 2] = ["AAECAwQFBgcICQoLDA0ODw", "EBESExQVFhcYGRobHB0eHw"];

/// Made with Python's msgpack and cryptography as Keystone assembles them: key
/// bytes 0..32, IV bytes 100..116, issued 1766400000, expiring an hour later.
const UNSCOPED: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc89tSVr9blZSSf-10CSPPL5yaZC0kKIOCKjEFLok6Xr3nLPHvFYiIoU6L_8dT_Cx0q7yeASK48W5bsX0GV0juP_dpOax8tdVMEGbqRgsDR9CFOtS2ddUae36RVIS5bsqsA";
const DEFAULT_DOMAIN: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc59Xa5frhm7b5nBltvfGh2flOhlZGXjI5r1X3rrBp7Cpn6JAj1-7VZePrtow3FmY3jcurcNLUNmaxtpTpDugI3MaSpMfTME_5pz7H8htc3Ro8W6kzdMAg4EC2n-6ZvcHUQ";
const DOMAIN: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc59Xa5frhm7b5nBltvfGh2cbFdeHhZIXWQcoY3qh7VS1O6CSf6oJJWNDHbBZadQsnmycdoEeQwrHrHl0n25Qhm1dABUAnnwrPH_jqi6HWAa3KFg_uPEHCscCoSQswjVMP46FgVYj6zJNbk2ETndzj20";
const PROJECT_SCOPED: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc4lcQDnUm1j0oXMkW3_EtN8s7-KeOZC7jUdHVRRchWFkp4l3BIdbZd20WUWSjDF3kdzxa4psXdR2SO3U50Cy56o7YpVbmkW3FrFUVHUD8rX_lULH1s-7bPO7GS3uiwihQB7HPvIwvN_wNqAc616I_9Ujvz_-i_kcpMzpFx0YlkAQ";
const LDAP_USER: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc8UzO9YXgt4mRGA7SJ3keWmkxNGE-bi8gW0wBNbNHuBhDbQucdcTPyWrQDly_NRah66pSwbFT1I822jwruhp6ljHb4bTDjGpe0Ha2FqQp_e3WhBzAzDWo2w3VuBllDAiMA";
const SYSTEM: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFycwpMQZwOl_pfZdLMOINMDRugzZ7vyrUhp5tWsyUV57-YRNDaymdwfBVPvUPxEHbqrwAdCxfggbhdXsChoxTDRYFkEZ4YNk3T5BuZCi1najRf3_3ZoyAYLxDshJrSX2OF1A";

fn ring() -> KeyRing {
    let key = Key::from_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    KeyRing::fixed(KeySet::new(key, vec![]))
}

fn usual(scope: Scope) -> Payload {
    Payload {
        user_id: USER.into(),
        methods: vec!["password".into()],
        scope,
        issued_at: Micros(1_766_400_000_000_000),
        expires_at: Micros(1_766_403_600_000_000),
        audit_ids: vec![AUDIT[0].into()],
        roles: None,
        delegation: None,
        federation: None,
        presented_by: None,
    }
}

#[test]
fn reads_the_tokens_that_keystone_makes() {
    let open = |token| Payload::open(&ring(), token).unwrap();
    assert_eq!(open(UNSCOPED), usual(Scope::Unscoped));
    assert_eq!(open(DEFAULT_DOMAIN), usual(Scope::Domain("default".into())));
    assert_eq!(open(DOMAIN), usual(Scope::Domain(PROJECT.into())));
    assert_eq!(open(SYSTEM), usual(Scope::System));
    let mut rescoped = usual(Scope::Project(PROJECT.into()));
    rescoped.methods = vec!["password".into(), "token".into()];
    rescoped.audit_ids = AUDIT.map(str::to_owned).to_vec();
    assert_eq!(open(PROJECT_SCOPED), rescoped);
    let mut ldap = usual(Scope::Project("proj".into()));
    ldap.user_id = "some-ldap-user".into();
    assert_eq!(open(LDAP_USER), ldap);
}

/// Our own version, put together in Python with the same key, IV and time: the
/// array [0x56, user, methods, kind of scope, scope, microseconds, lifetime in
/// seconds, audit ids, [bits of the usual roles, names of others]].
const OWN_GOLDEN: &str = "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc18YlZMGmU4Yv3VUGVAdFocFeRO8kh3S2LQOnea1mFLmD39tC_lqcH9vfb9DKAl1STHaKJgfu5npTzyAhsMu21yci2_zKX9HroBylLaWuY9rYKCQHArfh5p-cCM2cfeuU8Ly-RcJ0Ic1j4IgpaePhZIGmH7qcD-z8xl3HpaiASVNL25m82JWzL5V1Yu8Vty2FQ";

#[test]
fn the_own_version_stays_what_it_was_when_it_was_released() {
    let mut payload = usual(Scope::Project(PROJECT.into()));
    payload.issued_at = Micros(1_766_400_000_123_456);
    payload.methods = vec!["password".into(), "token".into()];
    payload.audit_ids = AUDIT.map(str::to_owned).to_vec();
    payload.roles = Some(["member", "reader", "ResellerAdmin"].map(str::to_owned).to_vec());
    assert_eq!(Payload::open(&ring(), OWN_GOLDEN).unwrap(), payload);
    let key = Key::from_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let iv = std::array::from_fn(|i| 100 + u8::try_from(i).unwrap());
    assert_eq!(key.seal(&payload.encode(true), 1_766_400_000, iv), OWN_GOLDEN);
}

#[test]
fn a_payload_that_is_not_understood_is_no_token() {
    let sealed = ring().seal(b"\x91\x01", 1).unwrap();
    assert_eq!(Payload::open(&ring(), &sealed), Err(TokenError::Invalid));
}

#[test]
fn the_normal_token_carries_its_roles_in_at_most_255_characters() {
    let mut payload = usual(Scope::Project(PROJECT.into()));
    payload.issued_at = Micros(1_766_400_000_999_999);
    payload.expires_at = Micros(1_766_486_400_000_000);
    payload.methods = vec!["password".into(), "token".into()];
    payload.audit_ids = AUDIT.map(str::to_owned).to_vec();
    payload.roles = Some(
        ["admin", "manager", "member", "reader", "ResellerAdmin"]
            .map(str::to_owned)
            .to_vec(),
    );
    let token = payload.seal(&ring()).unwrap();
    assert!(token.len() <= MAX_TOKEN, "{}", token.len());
    assert_eq!(Payload::open(&ring(), &token).unwrap(), payload);
}

#[test]
fn roles_that_would_make_it_too_long_are_left_out() {
    let mut payload = usual(Scope::Project(PROJECT.into()));
    payload.roles = Some((0..10).map(|n| format!("a-rather-long-role-{n}")).collect());
    let token = payload.seal(&ring()).unwrap();
    assert!(token.len() <= MAX_TOKEN, "{}", token.len());
    assert_eq!(Payload::open(&ring(), &token).unwrap().roles, None);
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{32}",
        "[0-9a-f]{64}",
        "[a-z-]{1,20}",
        Just("default".to_owned()),
        "[0-9A-F]{32}"
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Unscoped),
        Just(Scope::System),
        ids().prop_map(Scope::Project),
        ids().prop_map(Scope::Domain)
    ]
}

fn delegations() -> impl Strategy<Value = Delegation> {
    prop_oneof![
        ids().prop_map(|id| Delegation::Trust { id }),
        ids().prop_map(|id| Delegation::AccessToken { id }),
        (ids(), any::<bool>()).prop_map(|(id, ruled)| Delegation::ApplicationCredential { id, ruled }),
    ]
}

fn federations() -> impl Strategy<Value = Federation> {
    (ids(), "[a-z]{1,12}", prop::collection::vec(ids(), 0..5)).prop_map(
        |(identity_provider, protocol, groups)| Federation {
            identity_provider,
            protocol,
            groups,
        },
    )
}

#[test]
fn a_token_of_an_application_credential_is_short_enough() {
    let mut payload = usual(Scope::Project(PROJECT.into()));
    payload.methods = vec!["application_credential".into()];
    payload.roles = Some(["member", "reader"].map(str::to_owned).to_vec());
    payload.delegation = Some(Delegation::ApplicationCredential {
        id: USER.into(),
        ruled: true,
    });
    let token = payload.seal(&ring()).unwrap();
    assert!(token.len() <= MAX_TOKEN, "{}", token.len());
    assert_eq!(Payload::open(&ring(), &token).unwrap(), payload);
}

proptest! {
    #[test]
    fn whatever_is_put_into_a_token_comes_out(
        user_id in ids(), scope in scopes(), issued in 0u64..4_000_000_000_000_000, life in 0u64..1_000_000,
        audit in prop::collection::vec(any::<[u8; 16]>(), 1..3), delegation in prop::option::of(delegations()),
        federation in prop::option::of(federations()),
    ) {
        let payload = Payload {
            user_id, scope, methods: vec!["password".into()],
            issued_at: Micros(issued),
            expires_at: Micros((issued / 1_000_000 + life) * 1_000_000),
            audit_ids: audit.iter().map(|raw| URL_SAFE_NO_PAD.encode(raw)).collect(),
            roles: Some(vec!["member".into(), "reader".into()]),
            delegation,
            federation,
            presented_by: None,
        };
        let token = payload.seal(&ring()).unwrap();
        let opened = Payload::open(&ring(), &token).unwrap();
        // Long ids may leave no room for the roles.
        let roles = opened.roles.clone().and(payload.roles.clone());
        prop_assert_eq!(opened, Payload { roles, ..payload });
    }

    #[test]
    fn no_sealed_bytes_make_the_decoder_panic(content in prop::collection::vec(any::<u8>(), 0..120)) {
        let sealed = ring().seal(&content, 1_766_400_000).unwrap();
        let _ = Payload::open(&ring(), &sealed);
    }

    #[test]
    fn no_mutation_of_a_payload_makes_the_decoder_panic(at in 0usize..90, byte in any::<u8>(), cut in 0usize..90) {
        let mut content = usual(Scope::Project(PROJECT.into())).encode(true);
        let at = at % content.len();
        content[at] = byte;
        content.truncate(cut.max(1));
        let _ = Payload::decode(&Opened { sealed_at: u64::MAX, content });
    }
}
