//! Operations on objects.
pub(crate) mod attributes;
pub(crate) mod body;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod find;
pub(crate) mod read;
pub(crate) mod view;
pub(crate) mod write;
