//! Checksums of objects and parts: asked for, computed as the bytes pass,
//! compared, stored and shown.
//!
//! One algorithm an object. Its value is stored as system metadata of the
//! object; that of a part stands behind the ETag of the part's row, so that
//! completing an upload of ten thousand parts reads a listing, not ten thousand
//! heads.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, ChecksumAlgorithm, ChecksumType};
use s3s::{S3Result, s3_error};
use virga_object_wire::object::{Header, ObjectStat};

/// System metadata: the value, behind it the algorithm's header name.
const STORED: &str = "x-object-sysmeta-s3-checksum-";
/// System metadata: how a value of parts was made.
const STORED_TYPE: &str = "x-object-sysmeta-s3-checksum-type";

/// A checksum of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// How the checksum of parts is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of all bytes.
    Full,
    /// Of the parts' checksums.
    Composite,
}

impl Kind {
    pub(crate) fn dto(self) -> ChecksumType {
        ChecksumType::from_static(self.name())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => ChecksumType::FULL_OBJECT,
            Self::Composite => ChecksumType::COMPOSITE,
        }
    }

    pub(crate) fn named(name: &str) -> S3Result<Self> {
        match name {
            ChecksumType::FULL_OBJECT => Ok(Self::Full),
            ChecksumType::COMPOSITE => Ok(Self::Composite),
            _ => Err(s3_error!(
                InvalidRequest,
                "Value for x-amz-checksum-type header is invalid."
            )),
        }
    }
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Name in documents and headers ("CRC32").
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => ChecksumAlgorithm::CRC32,
            Self::Crc32c => ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => ChecksumAlgorithm::SHA1,
            Self::Sha256 => ChecksumAlgorithm::SHA256,
        }
    }

    pub(crate) fn dto(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from_static(self.name())
    }

    /// The algorithm of this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm of this name.
    ///
    /// # Errors
    /// `InvalidRequest` with AWS's words.
    pub(crate) fn read(name: &ChecksumAlgorithm) -> S3Result<Self> {
        Self::named(name.as_str()).ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
            )
        })
    }

    /// The header that carries a value.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// What stands in front of a value behind a row's ETag.
    pub(crate) fn row_key(self) -> &'static str {
        &self.header()[6..]
    }

    /// How parts are put together unless the client says otherwise.
    pub(crate) fn usual_kind(self) -> Kind {
        match self {
            Self::Crc64Nvme => Kind::Full,
            _ => Kind::Composite,
        }
    }

    /// Whether parts can be put together like this.
    pub(crate) fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::Full => !matches!(self, Self::Sha1 | Self::Sha256),
            Kind::Composite => self != Self::Crc64Nvme,
        }
    }

    /// Whether this can be a value, in base64.
    pub(crate) fn is_value(self, text: &str) -> bool {
        STANDARD
            .decode(text)
            .is_ok_and(|bytes| bytes.len() == self.length())
    }

    fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(crate) fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
        }
        hasher
    }

    /// The one value that a hasher of this algorithm has.
    pub(crate) fn value(self, hasher: ChecksumHasher) -> String {
        let all = hasher.finalize();
        let value = match self {
            Self::Crc32 => all.checksum_crc32,
            Self::Crc32c => all.checksum_crc32c,
            Self::Crc64Nvme => all.checksum_crc64nvme,
            Self::Sha1 => all.checksum_sha1,
            Self::Sha256 => all.checksum_sha256,
        };
        value.unwrap_or_default()
    }

    /// A document with this value alone.
    pub(crate) fn document(self, value: &str, kind: Option<Kind>) -> Checksum {
        let mut document = Checksum {
            checksum_type: kind.map(Kind::dto),
            ..Checksum::default()
        };
        let place = match self {
            Self::Crc32 => &mut document.checksum_crc32,
            Self::Crc32c => &mut document.checksum_crc32c,
            Self::Crc64Nvme => &mut document.checksum_crc64nvme,
            Self::Sha1 => &mut document.checksum_sha1,
            Self::Sha256 => &mut document.checksum_sha256,
        };
        *place = Some(value.to_owned());
        document
    }

    /// The checksum of a whole from those of its parts (base64) and their sizes.
    ///
    /// # Errors
    /// `InvalidPart` for a part's value that cannot be one.
    pub(crate) fn join(self, kind: Kind, parts: &[(&str, u64)]) -> S3Result<String> {
        let decode = |text: &str| {
            let bytes = STANDARD
                .decode(text)
                .ok()
                .filter(|bytes| bytes.len() == self.length());
            bytes.ok_or_else(|| s3_error!(InvalidPart))
        };
        if kind == Kind::Composite {
            let mut hasher = self.hasher();
            for (value, _) in parts {
                hasher.update(&decode(value)?);
            }
            return Ok(format!("{}-{}", self.value(hasher), parts.len()));
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let algorithm = match self {
            Self::Crc32c => crc_fast::CrcAlgorithm::Crc32Iscsi,
            Self::Crc64Nvme => crc_fast::CrcAlgorithm::Crc64Nvme,
            Self::Crc32 | Self::Sha1 | Self::Sha256 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
        };
        let mut all: Option<u64> = None;
        for (value, size) in parts {
            let own = number(&decode(value)?);
            all = Some(match all {
                None => own,
                Some(before) => crc_fast::checksum_combine(algorithm, before, own, *size),
            });
        }
        let bytes = all.unwrap_or_default().to_be_bytes();
        Ok(STANDARD.encode(&bytes[8 - self.length()..]))
    }
}

/// What a request says of the checksum of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) algorithm: Algorithm,
    /// The value; `None`: it comes behind the body, or is only to be computed.
    pub(crate) value: Option<String>,
    /// Whether the value comes behind the body.
    pub(crate) trails: bool,
}

impl Claim {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// `InvalidRequest` with AWS's words for several, for none where one was
    /// announced, and for what cannot be a value.
    pub(crate) fn of(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let given = in_headers(headers)?;
        let trailing = in_trailer(headers)?;
        let claim = match (given, trailing) {
            (Some(_), Some(_)) => {
                return Err(s3_error!(
                    InvalidRequest,
                    "Expecting a single x-amz-checksum- header"
                ));
            }
            (Some((algorithm, value)), None) => {
                if !algorithm.is_value(value) {
                    let name = algorithm.header();
                    return Err(s3_error!(InvalidRequest, "Value for {name} header is invalid."));
                }
                Some(Self {
                    algorithm,
                    value: Some(value.to_owned()),
                    trails: false,
                })
            }
            (None, Some(algorithm)) => Some(Self {
                algorithm,
                value: None,
                trails: true,
            }),
            (None, None) => None,
        };
        let announced = headers.get("x-amz-sdk-checksum-algorithm");
        let announced = announced.map(|name| name.to_str().unwrap_or_default());
        match (announced, &claim) {
            (Some(_), None) => Err(s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
            )),
            (Some(name), Some(claim)) if Algorithm::named(name) != Some(claim.algorithm) => Err(s3_error!(
                InvalidRequest,
                "Value for x-amz-sdk-checksum-algorithm header is invalid."
            )),
            (Some(_), Some(_)) | (None, _) => Ok(claim),
        }
    }
}

fn too_many() -> s3s::S3Error {
    s3_error!(
        InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )
}

/// The checksum that stands in the headers.
fn in_headers(headers: &HeaderMap) -> S3Result<Option<(Algorithm, &str)>> {
    // These say something else.
    const OTHERS: [&str; 3] = ["algorithm", "type", "mode"];
    let mut found = None;
    for (name, value) in headers {
        let Some(kind) = name.as_str().strip_prefix("x-amz-checksum-") else {
            continue;
        };
        if OTHERS.contains(&kind) {
            continue;
        }
        let Some(algorithm) = Algorithm::named(kind) else {
            return Err(s3_error!(
                InvalidRequest,
                "The algorithm type you specified in x-amz-checksum- header is invalid."
            ));
        };
        if found
            .replace((algorithm, value.to_str().unwrap_or_default()))
            .is_some()
        {
            return Err(too_many());
        }
    }
    Ok(found)
}

/// The checksum that is announced to stand behind the body.
fn in_trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let list = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
    let list = list.unwrap_or_default().trim();
    if list.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for name in list.trim_end_matches(',').split(',') {
        let name = name.trim();
        let known = Algorithm::ALL
            .into_iter()
            .find(|a| a.header().eq_ignore_ascii_case(name));
        found.push(known.ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "The value specified in the x-amz-trailer header is not supported"
            )
        })?);
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(too_many()),
    }
}

/// What is stored of a checksum.
pub(crate) fn stored(algorithm: Algorithm, value: &str, kind: Kind) -> Vec<Header> {
    vec![
        (
            format!("{STORED}{}", algorithm.name().to_ascii_lowercase()),
            value.to_owned(),
        ),
        (STORED_TYPE.to_owned(), kind.name().to_owned()),
    ]
}

/// The checksum that is stored with an object, if one is.
pub(crate) fn of(stat: &ObjectStat) -> Option<(Algorithm, String, Kind)> {
    let sysmeta = &stat.meta.sysmeta;
    let (algorithm, value) = sysmeta.iter().find_map(|(name, value)| {
        let algorithm = Algorithm::named(name.strip_prefix(STORED)?)?;
        Some((algorithm, value.clone()))
    })?;
    let kind = sysmeta.iter().find(|(name, _)| name == STORED_TYPE);
    let kind = kind
        .and_then(|(_, kind)| Kind::named(kind).ok())
        .unwrap_or(Kind::Full);
    Some((algorithm, value, kind))
}

/// Shows checksums in a document of another type, which has the same fields;
/// their kind, for those that have a field for it too.
macro_rules! show_in {
    ($output:ident, $shown:expr) => {{
        let shown = $shown;
        $output.checksum_crc32 = shown.checksum_crc32;
        $output.checksum_crc32c = shown.checksum_crc32c;
        $output.checksum_crc64nvme = shown.checksum_crc64nvme;
        $output.checksum_sha1 = shown.checksum_sha1;
        $output.checksum_sha256 = shown.checksum_sha256;
        shown.checksum_type
    }};
}
pub(crate) use show_in;

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        algorithm.value(hasher)
    }

    #[test]
    fn checksums_of_parts_join_to_that_of_the_whole() {
        let (one, two) = (vec![7u8; 100_000], b"the end".to_vec());
        let whole = [one.clone(), two.clone()].concat();
        for algorithm in Algorithm::ALL {
            let parts = [of_bytes(algorithm, &one), of_bytes(algorithm, &two)];
            let parts = [
                (parts[0].as_str(), one.len() as u64),
                (parts[1].as_str(), two.len() as u64),
            ];
            if algorithm.allows(Kind::Full) {
                assert_eq!(
                    algorithm.join(Kind::Full, &parts).unwrap(),
                    of_bytes(algorithm, &whole),
                    "{algorithm:?}"
                );
            }
            if algorithm.allows(Kind::Composite) {
                assert!(algorithm.join(Kind::Composite, &parts).unwrap().ends_with("-2"));
            }
            assert!(algorithm.join(Kind::Composite, &[("!", 1)]).is_err());
        }
        // Known answer: CRC-32 and SHA-1 of "123456789".
        assert_eq!(of_bytes(Algorithm::Crc32, b"123456789"), "y/Q5Jg==");
        assert_eq!(of_bytes(Algorithm::Crc32c, b"123456789"), "4waSgw==");
        assert_eq!(
            of_bytes(Algorithm::Sha1, b"123456789"),
            "98O8HYCOBHMq32eZZczDTKeuNEE="
        );
    }

    #[test]
    fn a_request_claims_one_checksum_or_none() {
        let claim = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, http::HeaderValue::from_static(value));
            }
            Claim::of(&headers)
        };
        assert_eq!(claim(&[]).unwrap(), None);
        let given = claim(&[("x-amz-checksum-crc32", "y/Q5Jg==")]).unwrap().unwrap();
        assert_eq!((given.algorithm, given.trails), (Algorithm::Crc32, false));
        let beside = claim(&[
            ("x-amz-checksum-type", "COMPOSITE"),
            ("x-amz-checksum-mode", "ENABLED"),
        ]);
        assert_eq!(beside.unwrap(), None);
        let trailing = claim(&[("x-amz-trailer", "X-Amz-Checksum-Sha256, ")])
            .unwrap()
            .unwrap();
        assert_eq!((trailing.algorithm, trailing.trails), (Algorithm::Sha256, true));
        for bad in [
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-checksum-crc32c", "y/Q5Jg=="),
            ][..],
            &[("x-amz-checksum-crc32", "y/Q5")],
            &[("x-amz-checksum-sha1", "!")],
            &[("x-amz-trailer", "x-amz-meta-a")],
            &[("x-amz-sdk-checksum-algorithm", "CRC32")],
            &[
                ("x-amz-sdk-checksum-algorithm", "CRC32C"),
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ],
            &[("x-amz-checksum-md5", "y/Q5Jg==")],
            &[("x-amz-trailer", "x-amz-checksum-crc32, x-amz-checksum-crc32")],
            &[("x-amz-trailer", ",x-amz-checksum-crc32")],
            &[
                ("x-amz-trailer", "x-amz-checksum-crc32"),
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ],
        ] {
            assert!(claim(bad).is_err(), "{bad:?}");
        }
    }
}
