//! What documents look like: the order of elements as AWS's schema has it, where the
//! protocol layer writes them by name, which strict readers do not take; and single
//! characters. Listings of objects and versions are written as they are to be
//! ([`crate::listing::document`]).
use std::borrow::Cow;

/// An element that has an order, and the order.
pub(crate) type Order = (&'static str, &'static [&'static str]);

const ORDERS: [Order; 10] = [
    ("CopyObjectResult", &["LastModified", "ETag"]),
    ("CopyPartResult", &["LastModified", "ETag"]),
    (
        "CompleteMultipartUploadResult",
        &["Location", "Bucket", "Key", "ETag"],
    ),
    ("ListAllMyBucketsResult", &["Owner", "Buckets"]),
    ("Bucket", &["Name", "CreationDate"]),
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
const DOCUMENTS: [&str; 6] = [
    "CopyObjectResult",
    "CopyPartResult",
    "CompleteMultipartUploadResult",
    "ListAllMyBucketsResult",
    "ListMultipartUploadsResult",
    "ListPartsResult",
];

/// Elements in elements, at most: the deepest document has five.
const DEEPEST: usize = 16;

/// A tag: its name, and where it ends.
struct Tag<'a> {
    name: &'a str,
    end: usize,
    /// `<Name/>`
    whole: bool,
}

/// A child that has been written: its place in the order, and where it stands.
struct Child {
    rank: usize,
    written: std::ops::Range<usize>,
}

/// A document on its way into order, in one pass.
struct Ordering<'a> {
    orders: &'a [Order],
    text: &'a str,
    at: usize,
    written: String,
    /// Children of the elements that are open, the innermost's last.
    children: Vec<Child>,
}

impl<'a> Ordering<'a> {
    fn new(text: &'a str, orders: &'a [Order]) -> Self {
        Self {
            orders,
            text,
            at: 0,
            written: String::with_capacity(text.len() + 1),
            children: Vec::new(),
        }
    }

    /// The next position of a byte.
    fn find(&self, byte: u8) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..)?;
        memchr::memchr(byte, rest).map(|found| self.at + found)
    }

    /// The tag that begins here.
    fn tag(&self) -> Option<Tag<'a>> {
        let end = self.find(b'>')?;
        let inner = self.text.get(self.at..end)?.strip_prefix('<')?;
        let name = inner.split([' ', '/']).next()?;
        Some(Tag {
            name,
            end: end + 1,
            whole: inner.ends_with('/'),
        })
    }

    /// Writes everything up to a position.
    fn copy(&mut self, upto: usize) -> Option<()> {
        self.written.push_str(self.text.get(self.at..upto)?);
        self.at = upto;
        Some(())
    }

    /// Writes the element that begins here, with what it holds in order;
    /// `None` for what cannot be read.
    fn element(&mut self, depth: usize) -> Option<&'a str> {
        let tag = self.tag().filter(|tag| depth < DEEPEST && !tag.name.is_empty())?;
        self.copy(tag.end)?;
        if tag.whole {
            return Some(tag.name);
        }
        let order = self.orders.iter().find(|(known, _)| *known == tag.name);
        let order = order.map(|(_, order)| *order);
        let (begin, open) = (self.written.len(), self.children.len());
        loop {
            let next = self.find(b'<')?;
            self.copy(next)?;
            if self.text.as_bytes().get(next + 1) == Some(&b'/') {
                break;
            }
            let from = self.written.len();
            let name = self.element(depth + 1)?;
            if let Some(order) = order {
                let rank = order.iter().position(|known| *known == name);
                self.children.push(Child {
                    rank: rank.unwrap_or(order.len()),
                    written: from..self.written.len(),
                });
            }
        }
        self.sort(begin, open);
        let end = self.text.get(self.at..)?.strip_prefix("</")?;
        let end = end.strip_prefix(tag.name)?.starts_with('>');
        self.copy(self.at + tag.name.len() + 3).filter(|()| end)?;
        Some(tag.name)
    }

    /// Puts the children of the innermost element in order: those noted from
    /// `open` on, written from `begin` on. Text between them keeps them as they are.
    fn sort(&mut self, begin: usize, open: usize) {
        let mut children: Vec<Child> = self.children.drain(open..).collect();
        let length: usize = children.iter().map(|child| child.written.len()).sum();
        if children.is_sorted_by_key(|child| child.rank) || length != self.written.len() - begin {
            return;
        }
        children.sort_by_key(|child| child.rank);
        let mut sorted = String::with_capacity(length);
        for child in children {
            sorted.push_str(self.written.get(child.written).unwrap_or_default());
        }
        self.written.truncate(begin);
        self.written.push_str(&sorted);
    }
}

/// A document in AWS's order, and its declaration on a line of its own, if it
/// is one of those that are put in order.
pub(crate) fn ordered(document: &[u8], documents: &[&str], orders: &[Order]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let mut ordering = Ordering::new(text, orders);
    if text.starts_with("<?xml") {
        let end = text.find("?>")? + 2;
        ordering.copy(end)?;
        ordering.written.push('\n');
        ordering.at += text.get(end..)?.len() - text.get(end..)?.trim_start().len();
    }
    if !documents.contains(&ordering.tag()?.name) {
        return None;
    }
    ordering.element(0)?;
    (ordering.at == text.len()).then_some(ordering.written)
}

/// The document of `GetObjectAttributes`, in which AWS writes ETags bare.
const BARE_ETAG: &[u8] = b"<GetObjectAttributes";
/// Where that stands: behind the declaration.
const START: usize = 96;

/// A document as AWS writes it; `None` where that is how it is. Carriage returns, which
/// readers of XML turn into line feeds, are written so that they stay what they are:
/// keys may have them.
pub(crate) fn as_aws(document: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(document)
        .ok()
        .filter(|text| text.starts_with('<'))?;
    let mut written = match ordered(document, &DOCUMENTS, &ORDERS) {
        Some(ordered) => Cow::Owned(ordered),
        None => Cow::Borrowed(text),
    };
    if memchr::memchr(b'\r', written.as_bytes()).is_some() {
        written = Cow::Owned(written.replace('\r', "&#13;"));
    }
    let start = document.get(..START).unwrap_or(document);
    if memchr::memmem::find(start, BARE_ETAG).is_some() {
        let bare = written
            .replace("<ETag>&quot;", "<ETag>")
            .replace("&quot;</ETag>", "</ETag>");
        written = Cow::Owned(bare.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>"));
    }
    match written {
        Cow::Owned(written) => Some(written),
        Cow::Borrowed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(document: &str) -> Option<String> {
        ordered(document.as_bytes(), &DOCUMENTS, &ORDERS)
    }

    #[test]
    fn characters_are_as_aws_writes_them() {
        for (before, after) in [
            (
                "<?xml?><DeleteResult><Deleted><Key>a\r\nb</Key></Deleted></DeleteResult>",
                Some("<?xml?><DeleteResult><Deleted><Key>a&#13;\nb</Key></Deleted></DeleteResult>"),
            ),
            (
                "<GetObjectAttributesOutput><ETag>&quot;a&quot;</ETag></GetObjectAttributesOutput>",
                Some("<GetObjectAttributesOutput><ETag>a</ETag></GetObjectAttributesOutput>"),
            ),
            (
                "<GetObjectAttributesResponse><ETag>\"a\"</ETag></GetObjectAttributesResponse>",
                Some("<GetObjectAttributesResponse><ETag>a</ETag></GetObjectAttributesResponse>"),
            ),
            ("<DeleteResult><Key>a\nb</Key></DeleteResult>", None),
            ("{\"Version\":\r\n\"2012-10-17\"}", None),
        ] {
            assert_eq!(as_aws(before.as_bytes()).as_deref(), after, "{before}");
        }
    }

    #[test]
    fn documents_are_in_the_order_of_aws() {
        for (before, after) in [
            (
                "<?xml version=\"1.0\"?><CopyObjectResult xmlns=\"x\"><ETag>a</ETag><LastModified>b</LastModified></CopyObjectResult>",
                "<?xml version=\"1.0\"?>\n<CopyObjectResult xmlns=\"x\"><LastModified>b</LastModified><ETag>a</ETag></CopyObjectResult>",
            ),
            (
                "<ListAllMyBucketsResult><Buckets><Bucket><CreationDate>1</CreationDate><Name>b</Name></Bucket></Buckets><Owner/></ListAllMyBucketsResult>",
                "<ListAllMyBucketsResult><Owner/><Buckets><Bucket><Name>b</Name><CreationDate>1</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>",
            ),
            (
                "<ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>false</IsTruncated><MaxUploads>1</MaxUploads><Upload><Initiated>2</Initiated><Key>k</Key></Upload><Other>1</Other></ListMultipartUploadsResult>",
                "<ListMultipartUploadsResult><Bucket>b</Bucket><MaxUploads>1</MaxUploads><IsTruncated>false</IsTruncated><Upload><Key>k</Key><Initiated>2</Initiated></Upload><Other>1</Other></ListMultipartUploadsResult>",
            ),
        ] {
            assert_eq!(in_order(before).as_deref(), Some(after));
        }
        for other in [
            "<ListVersionsResult></ListVersionsResult>",
            "",
            "<",
            "<CopyPartResult><A></CopyPartResult>",
            "<CopyPartResult></CopyPartResult><CopyPartResult/>",
            "<CopyPartResult",
            "<CopyPartResult></CopyPartResul",
        ] {
            assert_eq!(in_order(other), None, "{other}");
        }
    }
}
