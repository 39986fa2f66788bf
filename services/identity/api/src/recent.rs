//! What was found out lately, in bounded memory.
//!
//! Two halves: when the young one is full it becomes the old one and the old
//! one is dropped. What is asked for again moves to the young half, so what is
//! in use stays, without a queue.
use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, at most twice the size of a half.
#[derive(Debug)]
pub struct Recent<K, V> {
    pub(crate) young: HashMap<K, V>,
    pub(crate) old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// Nothing yet; a half holds `half` values.
    pub fn new(half: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half,
        }
    }

    /// The value of `key`, if it is remembered.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// Remembers a value.
    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes() {
        let mut recent = Recent::new(10);
        recent.put("busy".to_owned(), 1);
        for n in 0..1000 {
            recent.put(format!("{n}"), n);
            assert_eq!(recent.get("busy"), Some(1), "forgotten after {n}");
        }
        assert_eq!(recent.get("0"), None);
        assert!(recent.young.len() + recent.old.len() <= 20);
    }

    #[test]
    fn a_new_value_takes_the_place_of_the_old() {
        let mut recent = Recent::new(1);
        recent.put(1, "a");
        recent.put(2, "b");
        recent.put(1, "c");
        assert_eq!((recent.get(&1), recent.get(&2)), (Some("c"), Some("b")));
    }
}
