//! Signed texts against a library of Python's (PyJWT), and what is refused.
use serde_json::json;

use super::*;

/// `{"iss": "https://login"}`, signed by PyJWT with the key beside it.
const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2xvZ2luIn0.WNgmu6EQXt1RCG5CEAK82TLgoFZL2v3GB3WfTfs3T9HfVGOJni9n4UCHxLZmuk9-gCtIczJEi3-v87z67T8uEcCO3YiIuHkpx2LrwUXUFhRpPwY5guI_N47McxpQIDtInAnTEv_sCnS6_tZMG1PTGV41ov79HjZZCVFASp6zQK_uOKNP-rZitPa_EYuSwqBTBmQ7fleJ1y8Lid2EIJkug8shipcGERzau29Os1_iqr0gED_1nqg5lI_Mqihd9ZWYQHuzvbacF0XHq_nt5XMsFOIQPCCGHqJWWaTUWbWk8atodep36NBAUOKeFJaq91LauambpoArZyXaYweydUSv5w";
const N: &str = "u94z61O17HxhhCBAIIUCit-ivx8jlhF9haTNo6dBIDWqdVvwzM1miIU2DDsPdQpmype0C7_iW8KsHj8esQ1iegyXBlPJs-4alMnJYbVkn1CMbTLaxuW-iNKLiik2T2Kx18nfNyJ5Pg4OjxYKe4EKL6xipU_NxZL7Db6VTGA4lFj3byNGW9IKRsuTdP0PCOkUJ92mr9ugle5M4A1DW8Zex4K1UQ-TKR_dP3MlML3Rf3T2Ki_cesrLZksYzG6brjHqH6AJZAvPbKcPAJHM571eKk0DxQP-Y2ZU1FodkrsoAdq4TBolEIJBB_aCTFOkRcBdL1Rx4if0Qrk3_Oibd5IdeQ";

/// The example of RFC 7515, appendix A.3.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn jwk(value: Value) -> Option<PublicKey> {
    PublicKey::from_jwk(value.as_object().unwrap())
}

fn rsa() -> PublicKey {
    jwk(json!({"kty": "RSA", "key_ops": ["verify"], "n": N, "e": "AQAB"})).unwrap()
}

fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

#[test]
fn both_algorithms_are_checked_as_others_sign_them() {
    let text = Compact::parse(RS256).unwrap();
    assert_eq!(
        (text.algorithm, text.key_id.as_deref()),
        (Algorithm::Rs256, Some("r1"))
    );
    assert_eq!(text.claims(&rsa()).unwrap()["iss"], "https://login");
    let text = Compact::parse(ES256).unwrap();
    assert_eq!(text.claims(&jwk(ec()).unwrap()).unwrap()["iss"], "joe");
}

#[test]
fn a_text_does_not_choose_how_it_is_checked() {
    let header = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let (_, rest) = RS256.split_once('.').unwrap();
    for bad in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"RS512"}"#,
        r#"{"alg":7}"#,
        r#"{}"#,
        r#"{"alg":"RS256","crit":["exp"]}"#,
        r#"{"alg":"RS256","kid":7}"#,
        "[]",
        "{",
    ] {
        assert!(
            Compact::parse(&format!("{}.{rest}", header(bad))).is_none(),
            "{bad}"
        );
    }
    // The algorithm of the other key.
    let swapped = format!("{}.{rest}", header(r#"{"alg":"ES256"}"#));
    assert!(Compact::parse(&swapped).unwrap().claims(&rsa()).is_none());
    assert!(Compact::parse(ES256).unwrap().claims(&rsa()).is_none());
    let long = format!("{RS256}{}", "A".repeat(MAX_TEXT));
    assert!(Compact::parse(&long).is_none());
}

#[test]
fn keys_that_are_not_for_these_signatures_are_passed_over() {
    let with = |name: &str, value: &str| {
        let mut key = ec();
        key[name] = json!(value);
        jwk(key)
    };
    assert!(with("use", "sig").is_some() && with("alg", "ES256").is_some());
    for (name, value) in [
        ("use", "enc"),
        ("alg", "ES384"),
        ("crv", "P-384"),
        ("kty", "oct"),
        ("x", "AAAA\u{1F600}"),
    ] {
        assert_eq!(with(name, value), None, "{name}");
    }
    assert_eq!(jwk(json!({"kty": "oct", "k": "c2VjcmV0"})), None);
    assert_eq!(jwk(json!({"kty": "RSA", "n": N})), None);
    let too_long = URL_SAFE_NO_PAD.encode([1; 33]);
    assert_eq!(with("y", &too_long), None);
}

#[test]
fn a_short_rsa_key_checks_nothing() {
    let short = PublicKey::Rsa {
        n: vec![0xc5; 128],
        e: vec![1, 0, 1],
    };
    assert!(Compact::parse(RS256).unwrap().claims(&short).is_none());
}
