//! The bodies of the fuzz targets as property tests, so that they run without a fuzzer.
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fuzzed;

#[path = "../../../fuzz/bodies/s3_chunked.rs"]
mod s3_chunked;
#[path = "../../../fuzz/bodies/s3_form.rs"]
mod s3_form;
#[path = "../../../fuzz/bodies/s3_policy.rs"]
mod s3_policy;
#[path = "../../../fuzz/bodies/s3_xml.rs"]
mod s3_xml;

const STATEMENT: &str = r#"(\{("(Effect|Principal|NotPrincipal|Action|NotAction|Resource|NotResource|Condition|Sid)": ("(Allow|Deny|\*|s3:Get\*|s3:\*|arn:aws:s3:::b(/\*|/\$\{aws:username\}|)|own|arn:aws:iam::own:root)"|\["s3:GetObject", "s3:ListBucket"\]|\{"AWS": "(\*|own|other)"\}|\{"(IpAddress|StringLike|NumericLessThan|Bool|Null|DateLessThan|ForAnyValue:StringEquals)": \{"(aws:SourceIp|s3:prefix|s3:max-keys|aws:SecureTransport|aws:CurrentTime|s3:RequestObjectTagKeys)": ("10.0.0.0/8"|"a\*"|7|true|"2030-01-01T00:00:00Z")\}\})|, ){1,9}\}|,){1,3}"#;

/// Sound policies, with parts chosen by chance.
fn policy() -> impl Strategy<Value = String> {
    let effect = prop_oneof![Just("Allow"), Just("Deny")];
    let who = prop_oneof![
        Just(r#""*""#),
        Just(r#"{"AWS": "own"}"#),
        Just(r#"{"AWS": ["own", "arn:aws:iam::other:user/u"]}"#)
    ];
    let action = prop_oneof![Just("s3:*"), Just("s3:Get*"), Just("s3:ListBucket")];
    let resource = prop_oneof![
        Just("arn:aws:s3:::b"),
        Just("arn:aws:s3:::b/*"),
        Just("arn:aws:s3:::b/${aws:username}*")
    ];
    let condition = prop_oneof![
        Just("{}"),
        Just(r#"{"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "::1/128"]}}"#),
        Just(r#"{"StringNotLike": {"s3:prefix": "a*"}}"#),
        Just(r#"{"NumericLessThanIfExists": {"s3:max-keys": 3}}"#),
        Just(r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#),
        Just(r#"{"Null": {"s3:VersionId": "true"}}"#),
    ];
    (effect, who, action, resource, condition).prop_map(|(effect, who, action, resource, condition)| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "{effect}", "Principal": {who}, "Action": "{action}", "Resource": "{resource}", "Condition": {condition}}}}}"#
        )
    })
}

/// Documents of elements that life cycles and access lists have, in any order.
const ELEMENTS: &str = "(<(/?)(Rule|ID|Status|Filter|And|Prefix|Tag|Key|Value|Expiration|Days|Date|NoncurrentVersionExpiration|NoncurrentDays|AccessControlList|Grant|Grantee|Permission|Owner|URI|Type)>|Enabled|READ|1|a|&amp;|&x;|<!--){0,40}";

proptest! {
    #[test]
    fn sound_policies_are_read(policy in policy()) {
        assert!(fuzzed::policy(&policy).is_ok(), "{policy}: {:?}", fuzzed::policy(&policy));
        s3_policy::chew(policy.as_bytes());
    }

    #[test]
    fn no_policy_upsets_its_reader(statements in STATEMENT) {
        s3_policy::chew(format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#).as_bytes());
    }

    #[test]
    fn no_bytes_upset_the_reader_of_policies(data in vec(any::<u8>(), 0..300)) {
        s3_policy::chew(&data);
    }

    #[test]
    fn no_bytes_upset_the_reader_of_chunks(
        how in any::<[u8; 2]>(),
        body in "(0|1|3|f|\r\n|\r|\n|;|chunk-signature=|[0-9a-f]{64}|x-amz-checksum-crc32:|AAAAAA==|x-amz-trailer-signature:|abc){0,30}",
    ) {
        s3_chunked::chew(&[&how[..], body.as_bytes()].concat());
    }

    #[test]
    fn signed_chunks_come_as_they_were_signed(data in vec(any::<u8>(), 0..300)) {
        s3_chunked::chew(&data);
    }

    #[test]
    fn no_form_upsets_its_reader(
        piece in any::<char>(),
        form in "(--b0|--|\r\n|Content-Disposition: form-data; name=|\"(key|file|policy|a)\"|; filename=\"f\"|: |a|\u{fc}){0,30}",
    ) {
        s3_form::chew(format!("{piece}{form}").as_bytes());
    }

    #[test]
    fn no_policy_of_a_form_upsets_its_reader(
        conditions in r#"((\["(eq|starts-with|content-length-range)", ("\$(key|bucket|Content-Type)"|[0-9]{1,20}|-1), ("(user/|b|image/)"|[0-9]{1,20})\]|\{"(bucket|key)": "(b|user/a)"\})|, ){0,6}"#,
    ) {
        let json = format!(r#" {{"expiration": "2026-11-23T00:00:00Z", "conditions": [{conditions}]}}"#);
        s3_form::chew(json.as_bytes());
    }

    #[test]
    fn no_document_upsets_its_reader(inner in ELEMENTS) {
        for root in ["LifecycleConfiguration", "AccessControlPolicy"] {
            s3_xml::chew(format!("<{root}>{inner}</{root}>").as_bytes());
        }
    }

    #[test]
    fn life_cycles_come_back(
        id in "[a-z&<> ]{0,5}",
        prefix in "[a-z/&<\"\u{fc}]{0,8}",
        days in 0..4000i32,
        date in prop_oneof![Just("2030-01-01T00:00:00Z"), Just("2030-01-01T00:00:00.000Z"), Just("2030-01-01"), Just("2030-01-01T01:00:00Z")],
        dated in any::<bool>(),
        noncurrent in prop::option::of((0..40i32, 0..110i32)),
    ) {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let ends = match dated {
            true => format!("<Date>{date}</Date>"),
            false => format!("<Days>{days}</Days>"),
        };
        let old = noncurrent.map_or_else(String::new, |(days, keep)| format!(
            "<NoncurrentVersionExpiration><NoncurrentDays>{days}</NoncurrentDays><NewerNoncurrentVersions>{keep}</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
        ));
        let document = format!(
            "<LifecycleConfiguration><Rule><ID>{}</ID><Status>Enabled</Status><Filter><Prefix>{}</Prefix></Filter><Expiration>{ends}</Expiration>{old}</Rule></LifecycleConfiguration>",
            escaped(&id), escaped(&prefix),
        );
        s3_xml::chew(document.as_bytes());
    }

    #[test]
    fn access_lists_come_back(grants in vec(("[a-z0-9&]{0,6}", prop_oneof![Just("READ"), Just("FULL_CONTROL"), Just("WRITE_ACP"), Just("NONE")]), 0..4)) {
        let grants = grants.iter().map(|(id, permission)| format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>{}</ID></Grantee><Permission>{permission}</Permission></Grant>",
            id.replace('&', "&amp;")
        ));
        let grants: Vec<String> = grants.collect();
        let document = format!("<AccessControlPolicy><Owner><ID>own</ID></Owner><AccessControlList>{}</AccessControlList></AccessControlPolicy>", grants.concat());
        s3_xml::chew(document.as_bytes());
    }

    #[test]
    fn no_bytes_upset_the_readers_of_documents(data in vec(any::<u8>(), 0..300)) {
        s3_xml::chew(&data);
        s3_form::chew(&data);
    }
}
