//! Any bytes as a composite ring's file.

use virga_ring::composite::Composite;

/// Panics if the reader does, or if it does not read back what is written of what it accepts.
pub fn chew(data: &[u8]) {
    let Ok(composite) = Composite::decode(data) else {
        return;
    };
    assert_eq!(composite.files().count(), composite.components.len());
    let bytes = composite.encode("/f").expect("what was read can be written");
    let again = Composite::decode(&bytes).expect("what was written is read");
    assert_eq!(again.components, composite.components);
    assert_eq!(again.component_builder_files, composite.component_builder_files);
    assert_eq!(
        (again.version, &again.extra),
        (composite.version, &composite.extra)
    );
}
