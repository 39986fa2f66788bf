//! Reads the table of routes beside this file, `rows.txt`.
use std::sync::LazyLock;

/// A route ("GET /v3/users"), the rule that guards it (empty: none) and who gets
/// past it.
type Row = (&'static str, &'static str, &'static str);

/// All rows, in the order of the file.
pub static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    include_str!("rows.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [method, path, rule, who] = words[..] else {
                panic!("not a row: {line}");
            };
            let route: &'static str = format!("{method} {path}").leak();
            (route, rule.trim_start_matches('-'), who)
        })
        .collect()
});
