//! Random sequences of calls and crashes against the reference model.
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use virga_object_wire::listing::Created;

use super::model::Container;
use super::*;

/// One call, or a crash. Containers are few and versions small, so that they
/// meet.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u64, u32, Vec<MetaItem>),
    Post(u8, u64, Vec<MetaItem>),
    Delete(u8, u64),
    Rows(u8, Vec<ObjectRow>),
    Crash,
}

pub fn items() -> impl Strategy<Value = Vec<MetaItem>> {
    vec((0..4u8, 0..3u8, 1..40u64), 0..3).prop_map(|items| {
        let text = |value: u8| {
            if value == 0 {
                String::new()
            } else {
                value.to_string()
            }
        };
        items
            .into_iter()
            .map(|(name, value, n)| item(&format!("x-{name}"), &text(value), n))
            .collect()
    })
}

pub fn rows() -> impl Strategy<Value = Vec<ObjectRow>> {
    let row = (
        0..12u8,
        1..40u64,
        prop::option::weighted(0.2, 1..40u64),
        0..5u64,
        any::<bool>(),
    );
    let row = row.prop_map(|(name, version, post, size, is_deleted)| {
        let name = format!("o{name}");
        let mut row = if is_deleted {
            deleted(&name, version)
        } else {
            object(&name, version, size)
        };
        // What one version holds is decided by the version, as with real writers.
        row.content_type = format!("type/{version}");
        if let Some(post) = post.filter(|post| *post > version) {
            row.meta_version = v(post);
            row.content_type = format!("type/{post}");
        }
        row
    });
    vec(row, 1..8)
}

fn step() -> impl Strategy<Value = Step> {
    let version = 1..40u64;
    prop_oneof![
        3 => (0..3u8, version.clone(), 0..3u32, items()).prop_map(|(c, n, policy, meta)| Step::Put(c, n, policy, meta)),
        2 => (0..3u8, version.clone(), items()).prop_map(|(c, n, meta)| Step::Post(c, n, meta)),
        3 => (0..3u8, version).prop_map(|(c, n)| Step::Delete(c, n)),
        8 => (0..3u8, rows()).prop_map(|(c, rows)| Step::Rows(c, rows)),
        1 => Just(Step::Crash),
    ]
}

fn run(steps: Vec<Step>) {
    let mut device = Device::new();
    let mut model: BTreeMap<u8, Container> = (0..3).map(|c| (c, Container::default())).collect();
    for step in steps {
        if matches!(step, Step::Crash) {
            device.crash();
            continue;
        }
        let list = device.listings();
        match step {
            Step::Put(c, n, policy, meta) => {
                let expected = model.entry(c).or_default().on_put(v(n), policy, &meta);
                let put = PutContainer {
                    policy,
                    meta,
                    ..container(&format!("c{c}"), n)
                };
                let got = device.run(list.put_container(&at(&format!("c{c}")), put));
                assert_eq!(got, expected.map(|created| Created { created }));
            }
            Step::Post(c, n, meta) => {
                let expected = model.entry(c).or_default().on_post(v(n), &meta);
                assert_eq!(
                    device.run(list.post_container(&at(&format!("c{c}")), v(n), meta)),
                    expected
                );
            }
            Step::Delete(c, n) => {
                let expected = model.entry(c).or_default().on_delete(v(n));
                assert_eq!(
                    device.run(list.delete_container(&at(&format!("c{c}")), v(n))),
                    expected
                );
            }
            Step::Rows(c, rows) => {
                rows.iter()
                    .for_each(|row| model.entry(c).or_default().on_row(row));
                device.put_rows(&at(&format!("c{c}")), &rows);
            }
            Step::Crash => {}
        }
        check(&device, &model);
    }
    device.crash();
    check(&device, &model);
}

fn check(device: &Device, model: &BTreeMap<u8, Container>) {
    for (c, model) in model {
        let got = device.run(device.listings().list_container(&at(&format!("c{c}")), all()));
        let page = got.unwrap();
        assert_eq!(page.info.exists(), model.exists());
        model.check(&page.info);
        assert_eq!(page.entries, model.listed());
        assert_eq!(page.complete_to, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_and_crashes_agrees_with_the_model(steps in vec(step(), 1..40)) {
        run(steps);
    }
}
