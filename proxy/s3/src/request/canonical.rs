//! What signatures are made over, from AWS's descriptions of versions 4 and 2.
use http::header::HOST;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use virga_proxy::swift::headers::to_text;

use super::pairs;

/// What stays as it is in names and values.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The same in paths.
const IN_PATH: AsciiSet = PLAIN.remove(b'/');

/// The paths that a client may have signed: encoded as AWS does, and as it was
/// sent, which some do with characters that AWS encodes.
pub(crate) fn paths(path: &str) -> Vec<String> {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let encoded = percent_encode(&decoded, &IN_PATH).to_string();
    match encoded == path {
        true => vec![encoded],
        false => vec![encoded, path.to_owned()],
    }
}

fn query(text: &str) -> String {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
        percent_encode(&bytes, &PLAIN).to_string()
    };
    let mut all: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    all.sort();
    let written: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    written.join("&")
}

/// The values of a header as they are signed.
fn values(parts: &Parts, name: &str) -> Option<String> {
    let all: Vec<String> = parts.headers.get_all(name).iter().map(to_text).collect();
    if all.is_empty() {
        let host = parts.uri.authority().filter(|_| name == HOST.as_str());
        return host.map(|host| host.as_str().to_owned());
    }
    let tidy = |value: &String| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    Some(all.iter().map(tidy).collect::<Vec<_>>().join(","))
}

/// The canonical request of version 4. `signed` is sorted.
pub(crate) fn request(parts: &Parts, path: &str, signed: &[String], payload: &str) -> String {
    let mut headers = String::new();
    for name in signed {
        if let Some(value) = values(parts, name) {
            headers.push_str(&format!("{name}:{value}\n"));
        }
    }
    let query = query(parts.uri.query().unwrap_or_default());
    let names = signed.join(";");
    format!("{}\n{path}\n{query}\n{headers}\n{names}\n{payload}", parts.method)
}

/// Parts of a query that version 2 signs.
const SIGNED_BY_OLD: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// The string that version 2 signs. `date` is that of the header, or when a
/// link ends.
pub(crate) fn old(parts: &Parts, path: &str, date: &str, bucket_in_host: Option<&str>) -> String {
    let plain = |name: &str| {
        let value = parts.headers.get(name).map(to_text).unwrap_or_default();
        value.trim().to_owned()
    };
    let mut names: Vec<&str> = parts.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-amz-"));
    names.sort_unstable();
    let mut amazon = String::new();
    for name in names {
        let values: Vec<String> = parts.headers.get_all(name).iter().map(to_text).collect();
        let values: Vec<&str> = values.iter().map(|value| value.trim()).collect();
        amazon.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let bucket = bucket_in_host
        .map(|bucket| format!("/{bucket}"))
        .unwrap_or_default();
    let mut asked: Vec<String> = pairs(parts.uri.query().unwrap_or_default())
        .filter(|(name, _)| SIGNED_BY_OLD.contains(&name.as_str()))
        .map(|(name, value)| match value.is_empty() {
            true => name,
            false => format!("{name}={value}"),
        })
        .collect();
    asked.sort();
    let mark = if asked.is_empty() { "" } else { "?" };
    format!(
        "{}\n{}\n{}\n{date}\n{amazon}{bucket}{}{mark}{}",
        parts.method,
        plain("content-md5"),
        plain("content-type"),
        path,
        asked.join("&"),
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_canonical_request_is_as_aws_describes_it() {
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-meta-b", " a   b "),
            ("x-amz-meta-b", "c"),
        ];
        let parts = parts("GET", "/te%20st%2A?b=2&a=+1&c&X-Amz-Signature=x", &headers);
        let signed = ["host".to_owned(), "x-amz-meta-b".to_owned()];
        let path = &paths(parts.uri.path())[0];
        assert_eq!(
            request(&parts, path, &signed, "UNSIGNED-PAYLOAD"),
            "GET\n/te%20st%2A\na=%201&b=2&c=\nhost:examplebucket.s3.amazonaws.com\nx-amz-meta-b:a b,c\n\n\
             host;x-amz-meta-b\nUNSIGNED-PAYLOAD"
        );
        assert_eq!(paths("/a(b)"), ["/a%28b%29", "/a(b)"]);
        assert_eq!(paths("/a%28b"), ["/a%28b"]);
    }

    #[test]
    fn what_version_2_signs_is_as_aws_describes_it() {
        // From AWS's examples of signed requests.
        let put = parts(
            "PUT",
            "/photos/puppy.jpg",
            &[("content-type", "image/jpeg"), ("content-length", "94328")],
        );
        assert_eq!(
            old(
                &put,
                put.uri.path(),
                "Tue, 27 Mar 2007 21:15:45 +0000",
                Some("awsexamplebucket1")
            ),
            "PUT\n\nimage/jpeg\nTue, 27 Mar 2007 21:15:45 +0000\n/awsexamplebucket1/photos/puppy.jpg"
        );
        let delete = parts(
            "POST",
            "/b?prefix=x&delete&versionId=3%2F",
            &[("x-amz-date", "now")],
        );
        assert_eq!(
            old(&delete, delete.uri.path(), "", None),
            "POST\n\n\n\nx-amz-date:now\n/b?delete&versionId=3/"
        );
    }
}
