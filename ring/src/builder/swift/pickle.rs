//! The values of a pickle, as far as a Swift builder file needs them.
//!
//! [`super::machine`] makes them, [`super::import`] reads them. Everything that
//! can be shared lies in one list of nodes and is named by its number there, so
//! that an alias costs nothing and no walk recurses. No class, no function: a
//! pickle that wants to call something is refused before it gets here.
use std::borrow::Cow;

/// One value: small ones in place, the rest by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Number of a [`Node`].
    Node(u32),
    Callable(Callable),
}

/// The two functions a builder file may name. Both make an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callable {
    /// `array.array`
    Array,
    /// `array._array_reconstructor`, of protocols 3 and later.
    Reconstructor,
}

/// A value that others may refer to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'a> {
    Text(Cow<'a, str>),
    /// Bytes, or a text of Python 2.
    Bytes(Cow<'a, [u8]>),
    Tuple(Vec<Value>),
    List(List),
    /// In the order of the file; a later entry replaces an earlier one.
    Dict(Vec<(Value, Value)>),
    Array(Array),
}

/// A list; one that holds only small numbers (a table row) takes 4 bytes for each.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum List {
    Numbers(Vec<u32>),
    Mixed(Vec<Value>),
}

impl List {
    pub(super) fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Self::Numbers(numbers), Value::Int(number)) if u32::try_from(number).is_ok() => {
                numbers.push(number as u32);
            }
            (Self::Numbers(numbers), value) => {
                let mut all: Vec<Value> = numbers.iter().map(|&n| Value::Int(n.into())).collect();
                all.push(value);
                *self = Self::Mixed(all);
            }
            (Self::Mixed(all), value) => all.push(value),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Mixed(all) => all.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        let (numbers, all): (&[u32], &[Value]) = match self {
            Self::Numbers(numbers) => (numbers, &[]),
            Self::Mixed(all) => (&[], all),
        };
        let numbers = numbers.iter().map(|&number| Value::Int(number.into()));
        numbers.chain(all.iter().copied())
    }
}

/// An `array.array` of unsigned numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    /// Bytes of one entry where it was written: 1, 2 or 4.
    pub(super) width: u8,
    pub(super) numbers: Vec<u32>,
}

/// A pickle that has been read to its end.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// What the whole file stands for.
    pub(super) root: Value,
}

impl<'a> Pickle<'a> {
    pub(super) fn node(&self, value: Value) -> Option<&Node<'a>> {
        match value {
            Value::Node(at) => self.nodes.get(at as usize),
            _ => None,
        }
    }

    /// A text, or bytes of Python 2 that are one.
    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(text) => Some(text),
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Does some container hold itself, at whatever depth?
    pub(super) fn has_cycle(&self) -> bool {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; self.nodes.len()];
        // Nodes being walked and how many of their members have been seen.
        let mut path: Vec<(u32, usize)> = Vec::new();
        for start in 0..self.nodes.len() as u32 {
            if state[start as usize] == NEW {
                state[start as usize] = OPEN;
                path.push((start, 0));
            }
            while let Some((at, seen)) = path.last_mut() {
                let Some(member) = self.nodes[*at as usize].member(*seen) else {
                    state[*at as usize] = DONE;
                    path.pop();
                    continue;
                };
                *seen += 1;
                if let Value::Node(next) = member {
                    match state.get_mut(next as usize) {
                        Some(it) if *it == NEW => {
                            *it = OPEN;
                            path.push((next, 0));
                        }
                        Some(&mut OPEN) => return true,
                        _ => {}
                    }
                }
            }
        }
        false
    }
}

impl Node<'_> {
    /// The `at`-th member of a container; `None` beyond the last.
    fn member(&self, at: usize) -> Option<Value> {
        match self {
            Self::Tuple(all) | Self::List(List::Mixed(all)) => all.get(at).copied(),
            Self::Dict(entries) => {
                let &(key, value) = entries.get(at / 2)?;
                Some(if at.is_multiple_of(2) { key } else { value })
            }
            Self::Text(_) | Self::Bytes(_) | Self::Array(_) | Self::List(List::Numbers(_)) => None,
        }
    }

    /// What it is, in words of Python.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Array(_) => "an array",
        }
    }
}
