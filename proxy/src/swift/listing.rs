//! Listings: what a client may ask for, and how pages are written.
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use virga_object_wire::listing::{ContainerRow, Entry, ListRequest, ObjectRow};

use super::accept::Format;
use super::config::Config;
use super::fault::Fault;
use super::query::Query;
use super::versions::link::LinkRow;
use super::{symlink, target, timestamp};
use crate::core::ContainerName;

/// Which part of a listing a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For the core. Its limit is at least one.
    pub list: ListRequest,
    /// Entries wanted; may be none at all.
    pub limit: u32,
    /// `?path=`: what lies directly in this pseudo-directory, with its slash.
    pub path: Option<String>,
}

/// Reads the query of a listing.
///
/// # Errors
/// 400 for what is not UTF-8, 412 for a limit above `most`.
pub fn wanted(query: &Query, most: u32) -> Result<Wanted, Fault> {
    let text = |name| query.text(name).map(|value| value.unwrap_or_default().to_owned());
    let limit = match query.text("limit")? {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            match digits.parse::<u32>() {
                Ok(limit) if limit <= most => limit,
                _ => return Err(Fault::precondition(format!("Maximum limit is {most}"))),
            }
        }
        _ => most,
    };
    let path = query.text("path")?.map(|path| match path.trim_end_matches('/') {
        "" if path.is_empty() => String::new(),
        bare => format!("{bare}/"),
    });
    let (prefix, delimiter) = match &path {
        Some(path) => (path.clone(), "/".to_owned()),
        None => (text("prefix")?, text("delimiter")?),
    };
    let list = ListRequest {
        prefix,
        delimiter,
        marker: text("marker")?,
        end_marker: text("end_marker")?,
        reverse: query.truthy("reverse"),
        limit: limit.max(1),
    };
    Ok(Wanted { list, limit, path })
}

/// A container of an account listing, as JSON has it.
#[derive(Serialize)]
struct ContainerItem<'a> {
    name: &'a str,
    count: u64,
    bytes: u64,
    last_modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_policy: Option<&'a str>,
}

/// An object of a container listing, as JSON has it.
#[derive(Serialize)]
struct ObjectItem<'a> {
    name: &'a str,
    hash: &'a str,
    bytes: u64,
    content_type: &'a str,
    last_modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_etag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    version_symlink: bool,
}

#[derive(Serialize)]
struct SubdirItem<'a> {
    subdir: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a, T> {
    Row(T),
    Subdir(SubdirItem<'a>),
}

fn container_item<'a>(row: &'a ContainerRow, config: &'a Config) -> ContainerItem<'a> {
    ContainerItem {
        name: &row.name,
        count: row.objects,
        bytes: row.bytes,
        last_modified: timestamp::iso(row.put),
        storage_policy: config.policy_name(row.policy),
    }
}

/// The hash in a row's ETag, and the ETag of the large object that it may be.
pub fn hash_of(etag: &str) -> (&str, Option<String>) {
    let mut parts = etag.split("; ");
    let hash = parts.next().unwrap_or_default();
    let slo = parts.find_map(|part| part.strip_prefix("slo_etag="));
    (hash, slo.map(|slo| format!("\"{slo}\"")))
}

fn object_item<'a>(row: &'a ObjectRow, container: &ContainerName) -> ObjectItem<'a> {
    let account = container.account();
    let version = LinkRow::parse(&row.etag);
    let version_path = version.as_ref().map(|version| {
        let path = format!("/v1/{}/{}", container.path(), row.name);
        format!("{}?version-id={}", target::quote(&path), version.id)
    });
    // What more is to be said of an object stands behind its ETag.
    let mut parts = row.etag.split("; ");
    let hash = parts.next().unwrap_or_default();
    let (mut slo_etag, mut link, mut link_account) = (None, None, None);
    let (mut symlink_etag, mut symlink_bytes) = (None, None);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "slo_etag" => slo_etag = Some(format!("\"{value}\"")),
            "symlink_target" => link = Some(value),
            "symlink_target_account" => link_account = Some(value),
            "symlink_target_etag" => symlink_etag = Some(value),
            "symlink_target_bytes" => symlink_bytes = value.parse().ok(),
            _ => {}
        }
    }
    ObjectItem {
        symlink_path: version_path.or_else(|| link.map(|to| symlink::path(account, link_account, to))),
        symlink_etag,
        symlink_bytes,
        name: &row.name,
        hash,
        bytes: version.as_ref().map_or(row.size, |version| version.bytes),
        content_type: &row.content_type,
        last_modified: timestamp::iso(row.version.max(row.meta_version)),
        slo_etag,
        version_symlink: version.is_some(),
    }
}

fn items<'a, R, T>(
    entries: &'a [Entry<R>],
    item: impl Fn(&'a R) -> T + 'a,
) -> impl Iterator<Item = Item<'a, T>> {
    entries.iter().map(move |entry| match entry {
        Entry::Row(row) => Item::Row(item(row)),
        Entry::Subdir(subdir) => Item::Subdir(SubdirItem { subdir }),
    })
}

fn json<'a, T: Serialize + 'a>(items: impl Iterator<Item = Item<'a, T>>) -> Bytes {
    let items: Vec<_> = items.collect();
    // Strings and numbers only: there is nothing that could fail.
    serde_json::to_vec(&items).unwrap_or_default().into()
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
    let mut text = String::new();
    for name in names {
        text.push_str(name);
        text.push('\n');
    }
    text.into()
}

const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Writes `text` so that XML reads it back, in elements and attributes.
pub fn xml_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Writes a page of containers.
pub fn account(format: Format, account: &str, entries: &[Entry<ContainerRow>], config: &Config) -> Bytes {
    match format {
        Format::Json => json(items(entries, |row| container_item(row, config))),
        Format::Text => lines(entries.iter().map(|entry| match entry {
            Entry::Row(row) => row.name.as_str(),
            Entry::Subdir(name) => name.as_str(),
        })),
        Format::Xml | Format::TextXml => {
            let mut xml = format!("{XML_HEAD}<account name=\"{}\">\n", xml_escape(account));
            for item in items(entries, |row| container_item(row, config)) {
                let _ = match item {
                    Item::Subdir(SubdirItem { subdir }) => {
                        writeln!(xml, "<subdir name=\"{}\" />", xml_escape(subdir))
                    }
                    Item::Row(row) => {
                        let policy = row.storage_policy.map_or_else(String::new, |name| {
                            format!("<storage_policy>{}</storage_policy>", xml_escape(name))
                        });
                        writeln!(
                            xml,
                            "<container><name>{}</name><count>{}</count><bytes>{}</bytes><last_modified>{}</last_modified>{policy}</container>",
                            xml_escape(row.name),
                            row.count,
                            row.bytes,
                            row.last_modified
                        )
                    }
                };
            }
            xml.push_str("</account>");
            xml.into()
        }
    }
}

/// Writes a page of objects.
pub fn container(format: Format, name: &ContainerName, entries: &[Entry<ObjectRow>]) -> Bytes {
    let container = name.container();
    match format {
        Format::Json => json(items(entries, |row| object_item(row, name))),
        Format::Text => lines(entries.iter().map(|entry| match entry {
            Entry::Row(row) => row.name.as_str(),
            Entry::Subdir(name) => name.as_str(),
        })),
        Format::Xml | Format::TextXml => {
            let container = xml_escape(container);
            if entries.is_empty() {
                return format!("{XML_HEAD}<container name=\"{container}\" />").into();
            }
            let mut xml = format!("{XML_HEAD}<container name=\"{container}\">");
            for item in items(entries, |row| object_item(row, name)) {
                let _ = match item {
                    Item::Subdir(SubdirItem { subdir }) => {
                        let name = xml_escape(subdir);
                        write!(xml, "<subdir name=\"{name}\"><name>{name}</name></subdir>")
                    }
                    Item::Row(row) => write!(
                        xml,
                        "<object><name>{}</name><hash>{}</hash><bytes>{}</bytes><content_type>{}</content_type><last_modified>{}</last_modified></object>",
                        xml_escape(row.name),
                        xml_escape(row.hash),
                        row.bytes,
                        xml_escape(row.content_type),
                        row.last_modified
                    ),
                };
            }
            xml.push_str("</container>");
            xml.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_node::clock::Version;

    fn version(text: &str) -> Version {
        Version::from_timestamp(text).unwrap()
    }

    fn objects() -> Vec<Entry<ObjectRow>> {
        let row = ObjectRow {
            name: "a<b>&\"\u{fc}".into(),
            version: version("1763823600.12345"),
            meta_version: version("1763823601.5"),
            size: 7,
            etag: "d41d8; slo_etag=abc".into(),
            content_type: "text/plain; charset=\"x\"".into(),
            deleted: false,
        };
        vec![Entry::Row(row), Entry::Subdir("dir/".into())]
    }

    fn containers() -> Vec<Entry<ContainerRow>> {
        let row = ContainerRow {
            name: "c\u{fc}".into(),
            put: version("1763823600"),
            deleted: Version(0),
            policy: 0,
            counted: Version(0),
            objects: 3,
            bytes: 70,
        };
        vec![Entry::Row(row), Entry::Subdir("x-".into())]
    }

    #[test]
    fn a_page_of_objects_in_every_format() {
        let text = |format| {
            String::from_utf8(container(format, &ContainerName::new("a", "c&").unwrap(), &objects()).to_vec())
                .unwrap()
        };
        insta::assert_snapshot!(text(Format::Text), @r#"
        a<b>&"ü
        dir/
        "#);
        insta::assert_snapshot!(text(Format::Json), @r#"[{"name":"a<b>&\"ü","hash":"d41d8","bytes":7,"content_type":"text/plain; charset=\"x\"","last_modified":"2025-11-22T15:00:01.500000","slo_etag":"\"abc\""},{"subdir":"dir/"}]"#);
        insta::assert_snapshot!(text(Format::Xml), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <container name="c&amp;"><object><name>a&lt;b&gt;&amp;&quot;ü</name><hash>d41d8</hash><bytes>7</bytes><content_type>text/plain; charset=&quot;x&quot;</content_type><last_modified>2025-11-22T15:00:01.500000</last_modified></object><subdir name="dir/"><name>dir/</name></subdir></container>
        "#);
    }

    #[test]
    fn a_page_of_containers_in_every_format() {
        let config = Config::default();
        let text =
            |format| String::from_utf8(account(format, "AUTH_a", &containers(), &config).to_vec()).unwrap();
        assert_eq!(text(Format::Text), "c\u{fc}\nx-\n");
        insta::assert_snapshot!(text(Format::Json), @r#"[{"name":"cü","count":3,"bytes":70,"last_modified":"2025-11-22T15:00:00.000000","storage_policy":"Policy-0"},{"subdir":"x-"}]"#);
        insta::assert_snapshot!(text(Format::TextXml), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <account name="AUTH_a">
        <container><name>cü</name><count>3</count><bytes>70</bytes><last_modified>2025-11-22T15:00:00.000000</last_modified><storage_policy>Policy-0</storage_policy></container>
        <subdir name="x-" />
        </account>
        "#);
    }

    #[test]
    fn the_query_says_which_part() {
        let asked = |text: &str| wanted(&Query::parse(Some(text)), 100);
        let all = asked("").unwrap();
        assert_eq!((all.limit, all.list.limit, all.path), (100, 100, None));
        let some = asked("limit=7&prefix=p&delimiter=-%26&marker=m&end_marker=e&reverse=on").unwrap();
        let expected = ListRequest {
            prefix: "p".into(),
            delimiter: "-&".into(),
            marker: "m".into(),
            end_marker: "e".into(),
            reverse: true,
            limit: 7,
        };
        assert_eq!(some.list, expected);
        assert_eq!(asked("limit=0").unwrap().limit, 0);
        assert_eq!(asked("limit=x").unwrap().limit, 100);
        for limit in ["101", "99999999999999999999"] {
            assert_eq!(asked(&format!("limit={limit}")).unwrap_err().status(), 412);
        }
        assert_eq!(asked("prefix=%ff").unwrap_err().status(), 400);
    }

    #[test]
    fn a_path_is_a_prefix_with_one_slash_and_everything_below_rolled_up() {
        for (path, prefix) in [("", ""), ("/", "/"), ("a", "a/"), ("a/b//", "a/b/")] {
            let wanted = wanted(
                &Query::parse(Some(&format!("path={path}&prefix=x&delimiter=y"))),
                10,
            )
            .unwrap();
            assert_eq!(
                (wanted.list.prefix.as_str(), wanted.list.delimiter.as_str()),
                (prefix, "/"),
                "{path}"
            );
        }
    }
}
