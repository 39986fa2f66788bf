//! The order of elements in documents, as AWS's schema has it. The protocol
//! layer writes them by name, which strict readers do not take. Listings of
//! versions stay as they are: theirs cannot be had by sorting.

/// Elements that have an order, and the order.
const ORDERS: [(&str, &[&str]); 12] = [
    ("CopyObjectResult", &["LastModified", "ETag"]),
    ("CopyPartResult", &["LastModified", "ETag"]),
    (
        "CompleteMultipartUploadResult",
        &["Location", "Bucket", "Key", "ETag"],
    ),
    ("ListAllMyBucketsResult", &["Owner", "Buckets"]),
    ("Bucket", &["Name", "CreationDate"]),
    (
        "ListBucketResult",
        &[
            "Name",
            "Prefix",
            "Marker",
            "NextMarker",
            "NextContinuationToken",
            "ContinuationToken",
            "StartAfter",
            "KeyCount",
            "MaxKeys",
            "Delimiter",
            "EncodingType",
            "IsTruncated",
            "Contents",
            "CommonPrefixes",
        ],
    ),
    (
        "Contents",
        &[
            "Key",
            "LastModified",
            "ETag",
            "ChecksumAlgorithm",
            "ChecksumType",
            "Size",
            "Owner",
            "StorageClass",
        ],
    ),
    (
        "ListMultipartUploadsResult",
        &[
            "Bucket",
            "KeyMarker",
            "UploadIdMarker",
            "NextKeyMarker",
            "NextUploadIdMarker",
            "Delimiter",
            "Prefix",
            "MaxUploads",
            "EncodingType",
            "IsTruncated",
            "Upload",
            "CommonPrefixes",
        ],
    ),
    (
        "Upload",
        &[
            "Key",
            "UploadId",
            "Initiator",
            "Owner",
            "StorageClass",
            "Initiated",
        ],
    ),
    (
        "ListPartsResult",
        &[
            "Bucket",
            "Key",
            "UploadId",
            "Initiator",
            "Owner",
            "StorageClass",
            "PartNumberMarker",
            "NextPartNumberMarker",
            "MaxParts",
            "EncodingType",
            "IsTruncated",
            "Part",
        ],
    ),
    ("Part", &["PartNumber", "LastModified", "ETag", "Size"]),
    ("Owner", &["ID", "DisplayName"]),
];

/// Documents that are put in order.
const DOCUMENTS: [&str; 7] = [
    "CopyObjectResult",
    "CopyPartResult",
    "CompleteMultipartUploadResult",
    "ListAllMyBucketsResult",
    "ListBucketResult",
    "ListMultipartUploadsResult",
    "ListPartsResult",
];

fn order_of(name: &str) -> Option<&'static [&'static str]> {
    let found = ORDERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, order)| *order)
}

/// The tag that a text begins with: its name, and how long it is.
fn tag(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix('<')?;
    let end = inner.find('>')?;
    let name = inner.get(..end)?.trim_end_matches('/');
    let name = name.split_ascii_whitespace().next()?;
    Some((name, end + 2))
}

/// The element that a text begins with: its name, and all of it.
fn first(text: &str) -> Option<(&str, &str)> {
    let (name, _) = tag(text)?;
    let (mut at, mut depth) = (0, 0u32);
    loop {
        at += text.get(at..)?.find('<')?;
        let rest = text.get(at..)?;
        let (_, length) = tag(rest)?;
        let whole = rest.get(..length)?;
        at += length;
        if whole.starts_with("</") {
            depth = depth.checked_sub(1)?;
        } else if !whole.ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return Some((name, text.get(..at)?));
        }
    }
}

/// An element with what it holds in order; `None` for what cannot be read.
fn element(text: &str) -> Option<String> {
    let (name, start) = tag(text)?;
    let Some(order) = order_of(name) else {
        return Some(text.to_owned());
    };
    let Some(end) = text
        .rfind("</")
        .filter(|_| !text.get(..start).is_some_and(|tag| tag.ends_with("/>")))
    else {
        return Some(text.to_owned());
    };
    let mut rest = text.get(start..end)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (name, whole) = first(rest)?;
        let rank = order.iter().position(|known| *known == name);
        parts.push((rank.unwrap_or(order.len()), whole));
        rest = rest.get(whole.len()..)?;
    }
    parts.sort_by_key(|(rank, _)| *rank);
    let mut written = text.get(..start)?.to_owned();
    for (_, whole) in parts {
        written.push_str(&element_or(whole));
    }
    written.push_str(text.get(end..)?);
    Some(written)
}

/// An element in order, or as it is: text holds no elements.
fn element_or(text: &str) -> String {
    element(text).unwrap_or_else(|| text.to_owned())
}

/// A document in AWS's order, and its declaration on a line of its own, if it
/// is one that is put in order.
pub(crate) fn ordered(document: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let (declaration, root) = match text.strip_prefix("<?xml") {
        Some(rest) => {
            let (declared, root) = rest.split_once("?>")?;
            (format!("<?xml{declared}?>\n"), root.trim_start())
        }
        None => (String::new(), text),
    };
    let (name, _) = tag(root)?;
    if !DOCUMENTS.contains(&name) {
        return None;
    }
    let written = element(root)?;
    Some(declaration + &written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_in_the_order_of_aws() {
        for (before, after) in [
            (
                "<?xml version=\"1.0\"?><CopyObjectResult xmlns=\"x\"><ETag>a</ETag><LastModified>b</LastModified></CopyObjectResult>",
                "<?xml version=\"1.0\"?>\n<CopyObjectResult xmlns=\"x\"><LastModified>b</LastModified><ETag>a</ETag></CopyObjectResult>",
            ),
            (
                "<ListAllMyBucketsResult><Buckets><Bucket><CreationDate>1</CreationDate><Name>b</Name></Bucket></Buckets><Owner/></ListAllMyBucketsResult>",
                "<ListAllMyBucketsResult><Owner/><Buckets><Bucket><CreationDate>1</CreationDate><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>",
            ),
            (
                "<ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>false</IsTruncated><MaxUploads>1</MaxUploads><Upload><Initiated>2</Initiated><Key>k</Key></Upload><Other>1</Other></ListMultipartUploadsResult>",
                "<ListMultipartUploadsResult><Bucket>b</Bucket><MaxUploads>1</MaxUploads><IsTruncated>false</IsTruncated><Upload><Key>k</Key><Initiated>2</Initiated></Upload><Other>1</Other></ListMultipartUploadsResult>",
            ),
        ] {
            assert_eq!(ordered(before.as_bytes()).as_deref(), Some(after));
        }
        for other in [
            "<ListVersionsResult></ListVersionsResult>",
            "",
            "<",
            "<CopyPartResult><A></CopyPartResult>",
        ] {
            assert_eq!(ordered(other.as_bytes()), None, "{other}");
        }
    }
}
