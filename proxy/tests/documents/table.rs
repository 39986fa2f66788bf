//! Tables in documents that follow from the code: a test renders them and holds
//! the document against them. Included by the tests of both dialects.
//!
//! A table stands between two marks, `<!-- table: NAME ... -->` and
//! `<!-- end of table -->`. `VIRGA_WRITE_DOCS=1` writes it anew.
use std::path::PathBuf;

/// One row: what, the state it is in, and what there is to say about it.
pub struct Row {
    pub what: String,
    pub state: &'static str,
    pub says: &'static str,
}

/// Holds the table `name` of `docs/compat/FILE` against these rows.
pub fn holds(file: &str, name: &str, first: &str, rows: &[Row]) {
    let mut table = format!("| {first} | | |\n|---|---|---|\n");
    for Row { what, state, says } in rows {
        assert!(
            ["supported", "partial", "refused"].contains(state),
            "{what}: {state}"
        );
        table += &format!("| `{what}` | {state} | {says} |\n");
    }
    // The crates of both dialects lie below the folder `proxy`.
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut docs = here
        .ancestors()
        .map(|folder| folder.join("docs/compat").join(file));
    let path = docs.find(|path| path.exists()).expect("the document");
    let before = std::fs::read_to_string(&path).unwrap();
    let start = before
        .find(&format!("<!-- table: {name};"))
        .expect("the mark of the table");
    let start = start + before[start..].find("-->\n").expect("the end of the mark") + 4;
    let end = start
        + before[start..]
            .find("<!-- end of table -->")
            .expect("the mark behind the table");
    if before[start..end] == table {
        return;
    }
    assert!(
        std::env::var_os("VIRGA_WRITE_DOCS").is_some(),
        "{} is not what the code says: run the test again with VIRGA_WRITE_DOCS=1\n{table}",
        path.display()
    );
    let after = format!("{}{table}{}", &before[..start], &before[end..]);
    std::fs::write(&path, after).unwrap();
}
