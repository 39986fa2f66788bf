use std::path::PathBuf;

use virga_tests::cloud::Cloud;

/// `not COMMAND` fails where the command does not, which `!` does only at the end of
/// a script. For the same reason steps stand behind `;`: a failure of `a` in `a && b`
/// ends no script.
pub const NOT: &str = "not() { if \"$@\" > said 2>&1; then echo \"done: $*\"; return 1; fi; }\n";

/// A real source tree: this repository's in the short form; in the long form
/// every crate that cargo has unpacked, tens of thousands of files.
fn source_tree() -> PathBuf {
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if std::env::var_os("VIRGA_SOAK").is_none() {
        return repository;
    }
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    home.join("registry/src")
}

#[test]
fn swift_uploads_a_source_tree_and_downloads_it_equal() {
    let cloud = Cloud::start();
    let tree = source_tree();
    cloud.demo_shell(&format!(
        "mkdir tree; (cd '{}' && find . -type f -not -path './target/*' -not -path './.git/*' \
         -not -path './virga-data/*' -print0 | tar --null -T - -cf -) | tar xf - -C tree\n\
         (cd tree && swift upload --quiet --object-threads 4 source .)\n\
         mkdir back; swift download --quiet source -D back\n\
         diff -r tree back\n\
         test \"$(swift list source | wc -l)\" = \"$(find tree -type f | wc -l)\"\n\
         swift stat source | grep -q \"Objects: $(find tree -type f | wc -l)\"\n",
        tree.display()
    ));
}

#[test]
fn swift_uploads_in_segments_and_downloads_the_whole() {
    let cloud = Cloud::start();
    let (mib, segment) = if std::env::var_os("VIRGA_SOAK").is_some() {
        (5120, 256)
    } else {
        (40, 8)
    };
    cloud.demo_shell(&format!(
        "head -c {}M /dev/urandom > big\n\
         swift upload --quiet -S {segment}M slo big\n\
         swift upload --quiet -S {segment}M --use-slo slo2 big\n\
         swift upload --quiet -S {segment}M --use-dlo dlo big\n\
         for c in slo slo2 dlo; do swift download --quiet $c big -o back; cmp big back; rm back; done\n\
         swift stat slo2 big | grep -qi 'Content Length: {}'\n\
         swift delete --quiet slo2; swift list slo2_segments > left 2> /dev/null || true; test ! -s left\n\
         count() {{ swift list slo_segments | wc -l; }}; n=$(count); head -c 20M /dev/urandom > big\n\
         swift upload --quiet -S 8M --leave-segments slo big; test $(count) = $((n + 3))\n\
         swift upload --quiet -S 8M --skip-identical slo big; test $(count) = $((n + 3))\n\
         swift upload --quiet slo big; swift download --quiet slo big -o back; cmp big back; test $(count) = $n\n",
        mib,
        mib * 1024 * 1024
    ));
}

#[test]
fn segments_that_are_deleted_later_leave_their_listing_within_a_minute() {
    let cloud = Cloud::start();
    cloud.demo_shell(
        "head -c 3M /dev/urandom > big; swift upload --quiet -S 1M --use-slo box big\n\
         said() { swift auth | sed -n \"s/^export $1=//p\"; }; url=$(said OS_STORAGE_URL)/box/big\n\
         curl -fsS -X DELETE -H \"X-Auth-Token: $(said OS_AUTH_TOKEN)\" \"$url?multipart-manifest=delete&async=yes\"\n\
         test -z \"$(swift list box)\"\n\
         for i in $(seq 60); do test -n \"$(swift list box_segments)\" || break; sleep 1; done\n\
         test -z \"$(swift list box_segments)\"\n",
    );
}

#[test]
fn swift_posts_copies_and_deletes() {
    let cloud = Cloud::start();
    let said = cloud.demo_shell(&format!(
        "{NOT}echo one > one; swift upload --quiet -H 'X-Object-Meta-Color: blue' c one\n\
         swift stat c one | grep -i 'meta color: blue'\n\
         swift post -m Color:red c one; swift stat c one | grep -i 'meta color: red'\n\
         swift copy --destination /d/two c one >/dev/null; swift download --quiet d two -o - \n\
         swift post -r '.r:*,.rlistings' d; curl -fsS \"$(swift auth | sed -n 's/^export OS_STORAGE_URL=//p')/d/two\"\n\
         swift delete --quiet c; swift list\n\
         not swift download c one\n",
    ));
    assert_eq!(
        said.lines().skip(2).collect::<Vec<_>>(),
        ["one", "one", "d"],
        "{said}"
    );
}

#[test]
fn rclone_syncs_and_checks_over_swift() {
    let cloud = Cloud::start();
    let tree = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    cloud.demo_shell(&format!(
        "export RCLONE_CONFIG_V_TYPE=swift RCLONE_CONFIG_V_ENV_AUTH=true\n\
         cp -r '{}' tree; head -c 20M /dev/urandom > tree/blob; mkdir tree/empty\n\
         rclone sync tree v:box/tree; rclone check tree v:box/tree\n\
         rm tree/blob; echo new > tree/new; rclone sync tree v:box/tree; rclone check --download tree v:box/tree\n\
         test \"$(rclone cat v:box/tree/new)\" = new\n\
         rclone purge v:box; test -z \"$(rclone lsd v:)\"\n\
         head -c 20M /dev/urandom > big; export RCLONE_SWIFT_CHUNK_SIZE=6M; rclone copy big v:box; rclone rcat v:box/rc < big\n\
         test $(rclone ls v:box_segments | wc -l) = 8\n\
         rclone moveto v:box/rc v:box/moved; rclone check --download --include big . v:box\n\
         rclone cat --offset 6291446 --count 20 v:box/moved | cmp - <(tail -c +6291447 big | head -c 20)\n\
         rclone purge v:box; test -z \"$(rclone ls v:box_segments)\"\n",
        tree.display()
    ));
}

#[test]
fn swift_signs_links_that_need_no_token() {
    let cloud = Cloud::start();
    cloud.demo_shell(&format!(
        "{NOT}echo one > one; swift upload --quiet c one; swift post -m Temp-URL-Key:sesame\n\
         url=$(swift auth | sed -n 's/^export OS_STORAGE_URL=//p')\n\
         path=/v1/${{url##*/v1/}}; host=${{url%%/v1/*}}\n\
         curl -fsS \"$host$(swift tempurl GET 300 $path/c/one sesame)\" | cmp - one\n\
         curl -fsS -T one \"$host$(swift tempurl PUT 300 $path/c/two sesame)\"; swift download --quiet c two -o - | cmp - one\n\
         not curl -fsS \"$host$(swift tempurl GET 300 $path/c/one wrong)\"\n\
         not curl -fsS -X DELETE \"$host$(swift tempurl GET 300 $path/c/one sesame)\"\n\
         test \"$(swift list c | wc -l)\" = 2\n",
    ));
}
