//! The bodies of the fuzz targets as property tests, so that they run without a fuzzer.
use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzzed;

#[path = "../../../fuzz/bodies/slo_manifest.rs"]
mod slo_manifest;
#[path = "../../../fuzz/bodies/temp_url.rs"]
mod temp_url;

const ENTRY: &str = r#"(\{("path": "/c/[ab]{1,2}"|"size_bytes": (5|0|"5")|"range": "(0-1|-2|3-|9-)"|"etag": ("e"|null)|"data": "YQ=="|, ){1,7}\}|,){1,5}"#;

proptest! {
    #[test]
    fn no_bytes_upset_the_reader_of_manifests(data in vec(any::<u8>(), 0..300)) {
        slo_manifest::chew(&data);
    }

    #[test]
    fn no_manifest_upsets_its_reader(entries in ENTRY) {
        slo_manifest::chew(format!("[{entries}]").as_bytes());
    }

    #[test]
    fn what_manifests_are_made_of_comes_back(
        entries in vec(("[a-c/%\u{fc}]{1,4}", prop::option::of("[0-4]?-[0-4]")), 1..4),
    ) {
        let items = entries.iter().map(|(name, range)| match range {
            Some(range) => format!(r#"{{"path": "/d/{name}", "range": "{range}"}}"#),
            None => format!(r#"{{"path": "d/{name}", "size_bytes": "5"}}"#),
        });
        let items: Vec<String> = items.collect();
        slo_manifest::chew(format!("[{}]", items.join(",")).as_bytes());
    }

    #[test]
    fn no_query_passes_that_nobody_signed(
        query in "((temp_url_(sig|expires|prefix|ip_range)|inline|filename)=?(sha512:|[0-9a-f]{64}|[0-9]{1,11}|2030-01-01T00:00:00Z|%[0-9]{2}|<|\"|&|127.0.0.1(/8)?){0,3}&){0,6}",
    ) {
        temp_url::chew(query.as_bytes());
    }

    #[test]
    fn no_text_becomes_markup(text in "(<|>|\"|'|&|/|\\.\\./|http://|script|a|\n|\u{fc}){0,30}") {
        temp_url::chew(text.as_bytes());
    }

    #[test]
    fn no_bytes_upset_the_reader_of_temporary_urls(data in vec(any::<u8>(), 0..200)) {
        temp_url::chew(&data);
    }
}
