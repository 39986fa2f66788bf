//! Signatures as requests bear them: read, not yet believed.
use http::header::AUTHORIZATION;
use http::request::Parts;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::{header, pairs};
use crate::detail::Detailed;

/// Longest that a link of version 4 may be good for, in seconds.
const LONGEST: u64 = 604_800;

/// A signature of version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) access: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// Names of the headers that are signed, sorted.
    pub(crate) headers: Vec<String>,
    pub(crate) signature: String,
    /// For links: when they were signed, and for how many seconds.
    pub(crate) link: Option<(String, u64)>,
}

impl New {
    /// Whether it stands in the query.
    pub(crate) fn in_query(&self) -> bool {
        self.link.is_some()
    }

    /// What is wrong with the credential, in the words for where it stands.
    pub(crate) fn malformed(in_query: bool, why: &str) -> S3Error {
        match in_query {
            true => S3Error::with_message(
                S3ErrorCode::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {why}"),
            ),
            false => S3Error::with_message(
                S3ErrorCode::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {why}"),
            ),
        }
    }
}

/// A signature of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Old {
    pub(crate) access: String,
    /// In base64.
    pub(crate) signature: String,
    /// For links: when they end, in seconds since the epoch as written.
    pub(crate) expires: Option<String>,
}

/// A signature that a request bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    New(New),
    Old(Old),
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`; keys may have slashes in them.
struct Scope<'a> {
    access: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    fn read(text: &'a str, in_query: bool) -> S3Result<Self> {
        let wrong = |why: &str| New::malformed(in_query, why);
        let mut parts = text.rsplitn(5, '/');
        let (end, service, region, date, access) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        );
        let (Some(end), Some(service), Some(region), Some(date), Some(access)) = (
            end,
            service,
            region,
            date,
            access.filter(|access| !access.is_empty()),
        ) else {
            return Err(wrong(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        if service != "s3" {
            return Err(wrong(&format!(
                "incorrect service \"{service}\". This endpoint belongs to \"s3\"."
            )));
        }
        if end != "aws4_request" {
            return Err(wrong(&format!(
                "incorrect terminal \"{end}\". This endpoint uses \"aws4_request\"."
            )));
        }
        Ok(Self {
            access,
            date,
            region,
            service,
        })
    }

    fn signs(self, headers: &str, signature: &str, link: Option<(String, u64)>) -> New {
        let mut headers: Vec<String> = headers
            .split(';')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        headers.sort();
        headers.dedup();
        New {
            access: self.access.to_owned(),
            date: self.date.to_owned(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
            headers,
            signature: signature.to_owned(),
            link,
        }
    }
}

fn of_header(text: &str) -> S3Result<Claimed> {
    let denied = || {
        s3_error!(
            AccessDenied,
            "AWS authentication requires a valid Authorization header."
        )
    };
    if let Some(rest) = text.strip_prefix("AWS ") {
        let (access, signature) = rest.trim().rsplit_once(':').ok_or_else(denied)?;
        return Ok(Claimed::Old(Old {
            access: access.to_owned(),
            signature: signature.to_owned(),
            expires: None,
        }));
    }
    let Some(rest) = text.strip_prefix("AWS4-HMAC-SHA256") else {
        let error = s3_error!(InvalidArgument, "Unsupported Authorization Type");
        let shown = text.split(' ').next().unwrap_or_default();
        return Err(error
            .detail("ArgumentName", "Authorization")
            .detail("ArgumentValue", shown));
    };
    let field = |wanted: &str| {
        let mut fields = rest.split(',').filter_map(|field| field.trim().split_once('='));
        let (_, value) = fields.find(|(name, _)| name.trim() == wanted)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    };
    let (credential, headers, signature) = (field("Credential"), field("SignedHeaders"), field("Signature"));
    let (Some(credential), Some(headers), Some(signature)) = (credential, headers, signature) else {
        return Err(New::malformed(
            false,
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        ));
    };
    let scope = Scope::read(credential, false)?;
    Ok(Claimed::New(scope.signs(headers, signature, None)))
}

fn of_new_query(value: impl Fn(&str) -> Option<String>) -> S3Result<Claimed> {
    let wrong =
        |why: &'static str| S3Error::with_message(S3ErrorCode::AuthorizationQueryParametersError, why);
    let all = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-Date",
        "X-Amz-SignedHeaders",
        "X-Amz-Expires",
    ];
    let [
        Some(algorithm),
        Some(credential),
        Some(signature),
        Some(stamp),
        Some(headers),
        Some(seconds),
    ] = all.map(value)
    else {
        return Err(wrong(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ));
    };
    if algorithm != "AWS4-HMAC-SHA256" {
        return Err(wrong("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let scope = Scope::read(&credential, true)?;
    if seconds.starts_with('-') {
        return Err(wrong("X-Amz-Expires must be non-negative"));
    }
    let seconds: i64 = seconds
        .parse()
        .map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    let seconds = seconds.unsigned_abs();
    if seconds > LONGEST {
        return Err(wrong(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    Ok(Claimed::New(scope.signs(
        &headers,
        &signature,
        Some((stamp, seconds)),
    )))
}

impl Claimed {
    /// The signature of a request, if it bears one.
    ///
    /// # Errors
    /// For one that cannot be read.
    pub(crate) fn of(parts: &Parts) -> S3Result<Option<Self>> {
        let named: Vec<(String, String)> = pairs(parts.uri.query().unwrap_or_default()).collect();
        let value = |wanted: &str| {
            let mut all = named
                .iter()
                .filter(|(name, value)| name == wanted && !value.is_empty());
            let (_, first) = all.next()?;
            all.next().is_none().then(|| first.clone())
        };
        let has = |wanted: &str| named.iter().any(|(name, _)| name == wanted);
        let new = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]
            .into_iter()
            .any(has);
        let old = has("AWSAccessKeyId");
        let by_header = header(&parts.headers, AUTHORIZATION.as_str());
        match (by_header, new, old) {
            (Some(text), true, _) | (Some(text), _, true) => {
                let error = s3_error!(
                    InvalidArgument,
                    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
                );
                let shown = text.split(' ').next().unwrap_or_default();
                Err(error
                    .detail("ArgumentName", "Authorization")
                    .detail("ArgumentValue", shown))
            }
            (Some(text), false, false) => of_header(text).map(Some),
            (None, true, _) => of_new_query(value).map(Some),
            (None, false, true) => {
                let all = ["AWSAccessKeyId", "Signature", "Expires"].map(value);
                let [Some(access), Some(signature), Some(expires)] = all else {
                    return Err(s3_error!(
                        AccessDenied,
                        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
                    ));
                };
                Ok(Some(Self::Old(Old {
                    access,
                    signature,
                    expires: Some(expires),
                })))
            }
            (None, false, false) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn claimed(uri: &str, authorization: Option<&str>) -> Result<Option<Claimed>, String> {
        let mut request = Request::builder().uri(uri);
        if let Some(text) = authorization {
            request = request.header("authorization", text);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Claimed::of(&parts).map_err(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn signatures_are_read_where_they_stand() {
        assert_eq!(claimed("/b?x=Signature", None), Ok(None));
        let header = "AWS4-HMAC-SHA256 Credential=a/b/20261123/r/s3/aws4_request,SignedHeaders=x-amz-date;host, Signature=ff";
        let Ok(Some(Claimed::New(new))) = claimed("/b", Some(header)) else {
            panic!("it is read")
        };
        assert_eq!(
            (new.access.as_str(), new.date.as_str(), new.region.as_str()),
            ("a/b", "20261123", "r")
        );
        assert_eq!(new.headers, ["host", "x-amz-date"]);
        assert!(!new.in_query() && new.signature == "ff");
        let link = "/b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20261123%2Fr%2Fs3%2Faws4_request\
                    &X-Amz-Date=20261123T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=ff";
        let Ok(Some(Claimed::New(new))) = claimed(link, None) else {
            panic!("it is read")
        };
        assert_eq!(new.link, Some(("20261123T000000Z".to_owned(), 9)));
        let Ok(Some(Claimed::Old(old))) = claimed("/b?AWSAccessKeyId=a&Signature=b%3D&Expires=9", None)
        else {
            panic!("it is read")
        };
        assert_eq!(
            (old.signature.as_str(), old.expires.as_deref()),
            ("b=", Some("9"))
        );
        for (uri, header, code) in [
            ("/b", Some("Bearer x"), "InvalidArgument"),
            ("/b", Some("AWS x"), "AccessDenied"),
            (
                "/b",
                Some("AWS4-HMAC-SHA256 Credential=a"),
                "AuthorizationHeaderMalformed",
            ),
            (
                "/b",
                Some("AWS4-HMAC-SHA256 Credential=a/d/r/ec2/aws4_request, SignedHeaders=host, Signature=f"),
                "AuthorizationHeaderMalformed",
            ),
            (link, Some("AWS a:b"), "InvalidArgument"),
            ("/b?X-Amz-Algorithm=x", None, "AuthorizationQueryParametersError"),
            ("/b?AWSAccessKeyId=a", None, "AccessDenied"),
        ] {
            assert_eq!(claimed(uri, header), Err(code.to_owned()), "{uri} {header:?}");
        }
        for seconds in ["-1", "604801", "x"] {
            let uri = link.replace("Expires=9", &format!("Expires={seconds}"));
            assert_eq!(
                claimed(&uri, None),
                Err("AuthorizationQueryParametersError".to_owned()),
                "{uri}"
            );
        }
    }
}
