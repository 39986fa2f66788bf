//! Reads a pickle without running it.
//!
//! A pickle is a program for a small stack machine. This one knows the
//! instructions that build numbers, texts, lists, dicts and arrays, in every
//! width that protocols 0 to 5 have; those that import, call or build objects
//! are refused, except for the two functions that make an array. Called by
//! [`super::import`] only.
//!
//! Bounds: every length is compared with the bytes that are left before
//! anything is allocated; stack, memo and nodes have a largest number; arrays
//! together hold no more entries than the file has bytes, so that a list named
//! a thousand times is not copied a thousand times.
use std::borrow::Cow;
use std::collections::HashMap;

use super::opcode::{self, Opcode};
use super::pickle::{Array, Callable, List, Node, Pickle, Value};
use super::text;

/// Most values on the stack: Python writes at most 1000 between two marks.
const MAX_STACK: usize = 1 << 16;
/// Most containers and texts: ten for each device of the largest ring, and reserve.
const MAX_NODES: usize = 1 << 24;
/// Highest protocol there is.
const MAX_PROTOCOL: u8 = 5;
/// Longest line of protocol 0 that is a number or a name.
const MAX_LINE: usize = 256;

/// What is wrong at one byte of a pickle.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PickleFault {
    /// The file ends inside an instruction, or before the last one.
    #[error("the file ends here: it is cut off; copy it again")]
    Truncated,
    /// A protocol that does not exist yet.
    #[error(
        "pickle protocol {0} is not known (0 to {MAX_PROTOCOL} are): save the builder with Swift's tool, which writes protocol 2"
    )]
    Protocol(u8),
    /// An instruction that no builder file needs.
    #[error(
        "instruction {0} never stands in a builder file of Swift; if Swift's tool loads this file, save it there again (swift-ring-builder FILE rebalance --force), or take the ring file over (virga ring NAME.ring.gz write_builder)"
    )]
    Opcode(Opcode),
    /// It names a function or class.
    #[error(
        "it wants to load {0}, which no builder file needs: do not trust this file, and do not open it with Python"
    )]
    Global(String),
    /// It pickles the builder object itself.
    #[error(
        "it holds a whole RingBuilder object, as very old Swift wrote it: load and save it with Swift's tool (swift-ring-builder FILE rebalance --force), then import that"
    )]
    WholeObject,
    /// A call other than the making of an array.
    #[error("it calls something that makes no array of numbers")]
    Call,
    /// An instruction finds too little, or something else, on the stack.
    #[error("instruction {0} finds the wrong values on the stack: the file is damaged")]
    Stack(Opcode),
    /// The memo has no such entry.
    #[error("it refers to value {0}, which has not been stored: the file is damaged")]
    Memo(u32),
    /// A number or text that cannot be read.
    #[error("instruction {0} has a value that cannot be read, or a number over 64 bits")]
    Value(Opcode),
    /// A bound is passed.
    #[error("more than {limit} {what}: no builder file has as many")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Bytes after the end.
    #[error("{0} bytes follow the end of the pickle: the file is damaged")]
    Trailing(usize),
    /// A container in itself.
    #[error("a list or dict contains itself: the file is damaged")]
    Cycle,
}

/// Where it is wrong, and what.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("byte {at}: {fault}")]
pub struct PickleError {
    /// Offset of the instruction in the file.
    pub at: usize,
    /// What is wrong there.
    pub fault: PickleFault,
}

/// Reads `bytes` as one pickle.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, PickleError> {
    let mut machine = Machine::new(bytes);
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                let left = bytes.len() - machine.at;
                let pickle = Pickle {
                    nodes: machine.nodes,
                    root,
                };
                let fault = match left {
                    0 if pickle.has_cycle() => PickleFault::Cycle,
                    0 => return Ok(pickle),
                    left => PickleFault::Trailing(left),
                };
                return Err(PickleError { at, fault });
            }
            Err(fault) => return Err(PickleError { at, fault }),
        }
    }
}

type Done<T = ()> = Result<T, PickleFault>;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node<'a>>,
    /// Array entries that may still be made.
    entries: usize,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            entries: bytes.len(),
        }
    }

    /// One instruction; gives the result when it was the last.
    fn step(&mut self) -> Done<Option<Value>> {
        let code = Opcode(self.fixed::<1>()?[0]);
        match code.0 {
            opcode::STOP => {
                let root = self.pop(code)?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(Some(root))
                } else {
                    Err(PickleFault::Stack(code))
                };
            }
            opcode::PROTO => match self.fixed::<1>()?[0] {
                known if known <= MAX_PROTOCOL => {}
                other => return Err(PickleFault::Protocol(other)),
            },
            opcode::FRAME => {
                // Says only how much to read at once.
                let len = u64::from_le_bytes(self.fixed()?);
                self.fits(len)?;
            }
            opcode::MARK => {
                bound(self.marks.len(), MAX_STACK, "open marks")?;
                self.marks.push(self.stack.len());
            }
            opcode::NONE => self.push(Value::None)?,
            opcode::NEWTRUE => self.push(Value::Bool(true))?,
            opcode::NEWFALSE => self.push(Value::Bool(false))?,
            _ if code.is_number() => self.number(code)?,
            _ if code.is_text() => self.text(code)?,
            _ if code.is_memo() => self.memo(code)?,
            opcode::GLOBAL | opcode::STACK_GLOBAL => self.global(code)?,
            opcode::REDUCE => self.reduce(code)?,
            _ => self.container(code)?,
        }
        Ok(None)
    }

    /// Instructions that make or fill lists, dicts and tuples.
    fn container(&mut self, code: Opcode) -> Done {
        match code.0 {
            opcode::EMPTY_LIST => self.make(Node::List(List::Numbers(Vec::new()))),
            opcode::EMPTY_DICT => self.make(Node::Dict(Vec::new())),
            opcode::EMPTY_TUPLE => self.make(Node::Tuple(Vec::new())),
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let len = usize::from(code.0 - opcode::TUPLE1) + 1;
                let mut members = Vec::with_capacity(len);
                for _ in 0..len {
                    members.push(self.pop(code)?);
                }
                members.reverse();
                self.make(Node::Tuple(members))
            }
            opcode::TUPLE => {
                let members = self.pop_to_mark(code)?;
                self.make(Node::Tuple(members))
            }
            opcode::LIST => {
                let mut list = List::Numbers(Vec::new());
                self.pop_to_mark(code)?
                    .into_iter()
                    .for_each(|value| list.push(value));
                self.make(Node::List(list))
            }
            opcode::DICT => {
                let entries = pairs(&self.pop_to_mark(code)?, code)?;
                self.make(Node::Dict(entries))
            }
            opcode::APPEND => {
                let value = self.pop(code)?;
                self.append(&[value], code)
            }
            opcode::APPENDS => {
                let values = self.pop_to_mark(code)?;
                self.append(&values, code)
            }
            opcode::SETITEM => {
                let value = self.pop(code)?;
                let key = self.pop(code)?;
                self.set(&[(key, value)], code)
            }
            opcode::SETITEMS => {
                let entries = pairs(&self.pop_to_mark(code)?, code)?;
                self.set(&entries, code)
            }
            _ => Err(PickleFault::Opcode(code)),
        }
    }

    fn append(&mut self, values: &[Value], code: Opcode) -> Done {
        match self.top_node(code)? {
            Node::List(list) => {
                values.iter().for_each(|&value| list.push(value));
                Ok(())
            }
            _ => Err(PickleFault::Stack(code)),
        }
    }

    fn set(&mut self, new: &[(Value, Value)], code: Opcode) -> Done {
        match self.top_node(code)? {
            Node::Dict(entries) => {
                entries.extend_from_slice(new);
                Ok(())
            }
            _ => Err(PickleFault::Stack(code)),
        }
    }

    fn number(&mut self, code: Opcode) -> Done {
        let wrong = || PickleFault::Value(code);
        let value = match code.0 {
            opcode::BININT => Value::Int(i32::from_le_bytes(self.fixed()?).into()),
            opcode::BININT1 => Value::Int(self.fixed::<1>()?[0].into()),
            opcode::BININT2 => Value::Int(u16::from_le_bytes(self.fixed()?).into()),
            opcode::LONG1 => {
                let len = self.fixed::<1>()?[0];
                Value::Int(text::long(self.take(len.into())?).ok_or_else(wrong)?)
            }
            opcode::LONG4 => {
                let len = u32::from_le_bytes(self.fixed()?);
                Value::Int(text::long(self.take(len.into())?).ok_or_else(wrong)?)
            }
            opcode::BINFLOAT => Value::Float(f64::from_be_bytes(self.fixed()?)),
            _ => match (code.0, self.short_line()?) {
                (opcode::INT, "00") => Value::Bool(false),
                (opcode::INT, "01") => Value::Bool(true),
                (opcode::FLOAT, line) => Value::Float(line.parse().map_err(|_| wrong())?),
                (_, line) => {
                    let digits = line.strip_suffix('L').unwrap_or(line);
                    Value::Int(digits.parse().map_err(|_| wrong())?)
                }
            },
        };
        self.push(value)
    }

    fn text(&mut self, code: Opcode) -> Done {
        let wrong = || PickleFault::Value(code);
        let node = match code.0 {
            opcode::UNICODE => Node::Text(text::unicode_line(self.line()?).ok_or_else(wrong)?),
            opcode::STRING => Node::Bytes(text::quoted_line(self.line()?).ok_or_else(wrong)?),
            _ => {
                let len = match code.0 {
                    opcode::SHORT_BINUNICODE | opcode::SHORT_BINBYTES | opcode::SHORT_BINSTRING => {
                        self.fixed::<1>()?[0].into()
                    }
                    opcode::BINUNICODE8 | opcode::BINBYTES8 => u64::from_le_bytes(self.fixed()?),
                    _ => u32::from_le_bytes(self.fixed()?).into(),
                };
                let bytes = self.take(len)?;
                if matches!(
                    code.0,
                    opcode::SHORT_BINUNICODE | opcode::BINUNICODE | opcode::BINUNICODE8
                ) {
                    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
                    Node::Text(Cow::Borrowed(text))
                } else {
                    Node::Bytes(Cow::Borrowed(bytes))
                }
            }
        };
        self.make(node)
    }

    fn memo(&mut self, code: Opcode) -> Done {
        let key = match code.0 {
            opcode::MEMOIZE => self.memo.len() as u32,
            opcode::BINPUT | opcode::BINGET => self.fixed::<1>()?[0].into(),
            opcode::LONG_BINPUT | opcode::LONG_BINGET => u32::from_le_bytes(self.fixed()?),
            _ => self.short_line()?.parse().map_err(|_| PickleFault::Value(code))?,
        };
        if matches!(code.0, opcode::GET | opcode::BINGET | opcode::LONG_BINGET) {
            let value = *self.memo.get(&key).ok_or(PickleFault::Memo(key))?;
            return self.push(value);
        }
        bound(self.memo.len(), MAX_NODES, "stored values")?;
        let value = *self.stack.last().ok_or(PickleFault::Stack(code))?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn global(&mut self, code: Opcode) -> Done {
        let (module, name) = if code.0 == opcode::GLOBAL {
            (self.short_line()?.to_owned(), self.short_line()?.to_owned())
        } else {
            let (name, module) = (self.pop(code)?, self.pop(code)?);
            let text = |value| match self.node(value) {
                Some(Node::Text(text)) => Ok(text.chars().take(MAX_LINE).collect::<String>()),
                _ => Err(PickleFault::Stack(code)),
            };
            (text(module)?, text(name)?)
        };
        let callable = match (module.as_str(), name.as_str()) {
            ("array", "array") => Callable::Array,
            ("array", "_array_reconstructor") => Callable::Reconstructor,
            (_, "RingBuilder") if module.starts_with("swift.") => return Err(PickleFault::WholeObject),
            _ => {
                return Err(PickleFault::Global(
                    format!("{module}.{name}").escape_debug().to_string(),
                ));
            }
        };
        self.push(Value::Callable(callable))
    }

    /// A call: of `array` with type code and content, or of its reconstructor.
    fn reduce(&mut self, code: Opcode) -> Done {
        let arguments = self.pop(code)?;
        let callable = self.pop(code)?;
        let (Value::Callable(callable), Some(Node::Tuple(arguments))) = (callable, self.node(arguments))
        else {
            return Err(PickleFault::Call);
        };
        let array = self.array(callable, arguments)?;
        self.entries = self.entries.saturating_sub(array.numbers.len());
        self.make(Node::Array(array))
    }

    fn array(&self, callable: Callable, arguments: &[Value]) -> Done<Array> {
        match (callable, arguments) {
            (Callable::Array, &[code, content]) => {
                let width = match self.type_code(code) {
                    Some(b'B') => 1,
                    Some(b'H') => 2,
                    Some(b'I' | b'L') => 4,
                    _ => return Err(PickleFault::Call),
                };
                let numbers = match self.node(content) {
                    Some(Node::List(List::Numbers(numbers))) => {
                        self.afford(numbers.len())?;
                        numbers.clone()
                    }
                    // Python 2 wrote bytes, in the order of its machine: little-endian.
                    Some(Node::Bytes(bytes)) => self.unpack(bytes, width, false)?,
                    _ => return Err(PickleFault::Call),
                };
                let largest = u32::MAX >> (32 - 8 * u32::from(width));
                if numbers.iter().any(|&number| number > largest) {
                    return Err(PickleFault::Call);
                }
                Ok(Array { width, numbers })
            }
            (
                Callable::Reconstructor,
                &[Value::Callable(Callable::Array), _, Value::Int(layout), content],
            ) => {
                // The layout says width and byte order; the type code is what
                // the writer's machine called it.
                let (width, big) = match layout {
                    0 => (1, false),
                    2 => (2, false),
                    3 => (2, true),
                    6 => (4, false),
                    7 => (4, true),
                    _ => return Err(PickleFault::Call),
                };
                let Some(Node::Bytes(bytes)) = self.node(content) else {
                    return Err(PickleFault::Call);
                };
                let numbers = self.unpack(bytes, width, big)?;
                Ok(Array { width, numbers })
            }
            _ => Err(PickleFault::Call),
        }
    }

    fn type_code(&self, value: Value) -> Option<u8> {
        match self.node(value)? {
            Node::Text(text) => text.bytes().next().filter(|_| text.len() == 1),
            Node::Bytes(bytes) => bytes.first().copied().filter(|_| bytes.len() == 1),
            _ => None,
        }
    }

    fn unpack(&self, bytes: &[u8], width: u8, big: bool) -> Done<Vec<u32>> {
        let width = usize::from(width);
        self.afford(bytes.len() / width)?;
        if !bytes.len().is_multiple_of(width) {
            return Err(PickleFault::Call);
        }
        let shift_in = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        let number = |entry: &[u8]| {
            if big {
                entry.iter().fold(0, shift_in)
            } else {
                entry.iter().rev().fold(0, shift_in)
            }
        };
        Ok(bytes.chunks_exact(width).map(number).collect())
    }

    /// May `entries` more array entries be made?
    fn afford(&self, entries: usize) -> Done {
        if entries <= self.entries {
            return Ok(());
        }
        Err(PickleFault::TooMany {
            what: "array entries in all",
            limit: self.bytes.len(),
        })
    }

    fn node(&self, value: Value) -> Option<&Node<'a>> {
        match value {
            Value::Node(at) => self.nodes.get(at as usize),
            _ => None,
        }
    }

    // --- the stack and the bytes ---

    fn push(&mut self, value: Value) -> Done {
        bound(self.stack.len(), MAX_STACK, "values on the stack")?;
        self.stack.push(value);
        Ok(())
    }

    fn make(&mut self, node: Node<'a>) -> Done {
        bound(self.nodes.len(), MAX_NODES, "values")?;
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() as u32 - 1))
    }

    /// The topmost value; a mark protects what lies below it.
    fn pop(&mut self, code: Opcode) -> Done<Value> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(PickleFault::Stack(code));
        }
        self.stack.pop().ok_or(PickleFault::Stack(code))
    }

    fn pop_to_mark(&mut self, code: Opcode) -> Done<Vec<Value>> {
        let mark = self.marks.pop().ok_or(PickleFault::Stack(code))?;
        Ok(self.stack.split_off(mark))
    }

    fn top_node(&mut self, code: Opcode) -> Done<&mut Node<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(|open| open.last()) {
            Some(&Value::Node(at)) => Ok(&mut self.nodes[at as usize]),
            _ => Err(PickleFault::Stack(code)),
        }
    }

    fn fits(&self, len: u64) -> Done<usize> {
        let left = self.bytes.len() - self.at;
        usize::try_from(len)
            .ok()
            .filter(|&len| len <= left)
            .ok_or(PickleFault::Truncated)
    }

    fn take(&mut self, len: u64) -> Done<&'a [u8]> {
        let len = self.fits(len)?;
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Done<[u8; N]> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| PickleFault::Truncated)
    }

    /// Up to the next newline, which is left out.
    fn line(&mut self) -> Done<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or(PickleFault::Truncated)? as u64)?;
        self.at += 1;
        Ok(line)
    }

    fn short_line(&mut self) -> Done<&'a str> {
        let line = self.line()?;
        bound(line.len(), MAX_LINE, "characters in a number or name")?;
        let text = std::str::from_utf8(line).map_err(|_| PickleFault::Truncated)?;
        Ok(text.strip_suffix('\r').unwrap_or(text))
    }
}

fn bound(have: usize, limit: usize, what: &'static str) -> Done {
    if have < limit {
        Ok(())
    } else {
        Err(PickleFault::TooMany { what, limit })
    }
}

fn pairs(values: &[Value], code: Opcode) -> Done<Vec<(Value, Value)>> {
    if !values.len().is_multiple_of(2) {
        return Err(PickleFault::Stack(code));
    }
    Ok(values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
