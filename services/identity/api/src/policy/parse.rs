//! From rule text to [`Check`]s.
//!
//! Words are separated by blanks; parentheses stick to the words they enclose,
//! because `%(name)s` has parentheses of its own. `and` binds tighter than
//! `or`, `not` tighter than both.
use serde_json::Value;

use super::check::{Check, Part, Template};

/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 64;
/// Longest rule text, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {what}")]
pub struct ParseError {
    /// Position in the rule text, from 1.
    pub at: usize,
    /// What was found and what was expected.
    pub what: String,
}

fn wrong<T>(at: usize, what: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError {
        at: at + 1,
        what: what.into(),
    })
}

#[derive(Debug, Clone, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(&'t str),
}

fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        // The word is a part of the text, so this is its place in it.
        let mut at = word.as_ptr() as usize - text.as_ptr() as usize;
        let mut word = word;
        while let Some(rest) = word.strip_prefix('(') {
            out.push((at, Token::Open));
            at += 1;
            word = rest;
        }
        let inner = word.trim_end_matches(')');
        match inner.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => out.push((at, Token::And)),
            "or" => out.push((at, Token::Or)),
            "not" => out.push((at, Token::Not)),
            _ => out.push((at, Token::Check(inner))),
        }
        for close in inner.len()..word.len() {
            out.push((at + close, Token::Close));
        }
    }
    out
}

/// Parses a rule in the text form. The empty text always holds.
pub fn parse_text(text: &str) -> Result<Check, ParseError> {
    if text.len() > MAX_TEXT {
        return wrong(
            0,
            format!("the rule has {} characters, the limit is {MAX_TEXT}", text.len()),
        );
    }
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Ok(Check::True);
    }
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        end: text.len(),
    };
    let check = parser.any(0)?;
    match parser.peek() {
        None => Ok(check),
        Some((at, Token::Close)) => wrong(*at, "a closing parenthesis without an opening one"),
        Some((at, _)) => wrong(*at, "expected `and`, `or` or the end of the rule"),
    }
}

struct Parser<'p, 't> {
    tokens: &'p [(usize, Token<'t>)],
    next: usize,
    end: usize,
}

impl<'p, 't> Parser<'p, 't> {
    fn peek(&self) -> Option<&'p (usize, Token<'t>)> {
        self.tokens.get(self.next)
    }

    fn take_if(&mut self, wanted: &Token<'_>) -> bool {
        let found = self.peek().is_some_and(|(_, token)| token == wanted);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Check, ParseError> {
        let mut checks = vec![self.all(depth)?];
        while self.take_if(&Token::Or) {
            checks.push(self.all(depth)?);
        }
        Ok(one_or(checks, Check::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Check, ParseError> {
        let mut checks = vec![self.single(depth)?];
        while self.take_if(&Token::And) {
            checks.push(self.single(depth)?);
        }
        Ok(one_or(checks, Check::And))
    }

    fn single(&mut self, depth: usize) -> Result<Check, ParseError> {
        let Some((at, token)) = self.peek() else {
            return wrong(self.end, "the rule ends where a check is expected");
        };
        if depth >= MAX_DEPTH {
            return wrong(*at, format!("nested deeper than {MAX_DEPTH}"));
        }
        self.next += 1;
        match token {
            Token::Not => Ok(Check::Not(Box::new(self.single(depth + 1)?))),
            Token::Open => {
                let inner = self.any(depth + 1)?;
                if !self.take_if(&Token::Close) {
                    return wrong(*at, "this parenthesis is not closed");
                }
                Ok(inner)
            }
            Token::Check(text) => check(text, *at),
            Token::Close => wrong(*at, "expected a check, found `)`"),
            Token::And => wrong(*at, "expected a check, found `and`"),
            Token::Or => wrong(*at, "expected a check, found `or`"),
        }
    }
}

fn one_or(mut checks: Vec<Check>, many: fn(Vec<Check>) -> Check) -> Check {
    if checks.len() == 1 {
        checks.remove(0)
    } else {
        many(checks)
    }
}

fn check(text: &str, at: usize) -> Result<Check, ParseError> {
    match text {
        "@" => return Ok(Check::True),
        "!" => return Ok(Check::False),
        _ => {}
    }
    let Some((kind, wanted)) = text.split_once(':') else {
        return wrong(
            at,
            format!("`{text}` is not a check: expected kind:match, `@` or `!`"),
        );
    };
    if kind.is_empty() {
        return wrong(at, format!("`{text}` has nothing before the colon"));
    }
    let filled = template(wanted, at + kind.len() + 1)?;
    Ok(match kind {
        "rule" => Check::Rule(wanted.to_owned()),
        "role" => Check::Role(filled),
        "http" | "https" | "remote" => {
            return wrong(
                at,
                format!("`{kind}:` checks call out over the network and are not supported"),
            );
        }
        _ => match literal(kind) {
            Some(text) => Check::Literal(text, filled),
            None => Check::Attribute(kind.split('.').map(str::to_owned).collect(), filled),
        },
    })
}

/// Kinds that are values by themselves: quoted text, numbers and Python's
/// `None`, `True` and `False`.
fn literal(kind: &str) -> Option<String> {
    for quote in ['\'', '"'] {
        if let Some(inner) = kind.strip_prefix(quote).and_then(|k| k.strip_suffix(quote)) {
            return Some(inner.to_owned());
        }
    }
    let constant = matches!(kind, "None" | "True" | "False") || kind.bytes().all(|b| b.is_ascii_digit());
    constant.then(|| kind.to_owned())
}

fn template(text: &str, at: usize) -> Result<Template, ParseError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let here = at + text.len() - after.len() - 1;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        if let Some(after) = after.strip_prefix('%') {
            parts.push(Part::Text("%".to_owned()));
            rest = after;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|a| a.split_once(")s"));
        let Some((name, after)) = named else {
            return wrong(here, "`%` must be followed by (name)s");
        };
        if name.is_empty() {
            return wrong(here, "`%()s` names nothing");
        }
        parts.push(Part::Target(name.to_owned()));
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(Template(parts))
}

/// Parses a rule as a policy file holds it: text, or the older list of lists
/// (the outer joined by `or`, the inner by `and`).
pub fn parse_value(value: &Value) -> Result<Check, ParseError> {
    let outer = match value {
        Value::String(text) => return parse_text(text),
        Value::Null => return Ok(Check::True),
        Value::Array(outer) => outer,
        _ => return wrong(0, "a rule is text or a list of lists"),
    };
    if outer.is_empty() {
        return Ok(Check::True);
    }
    let mut any = Vec::new();
    for inner in outer {
        match inner {
            Value::String(text) => any.push(check(text.trim(), 0)?),
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => {
                let mut all = Vec::new();
                for item in items {
                    let Value::String(text) = item else {
                        return wrong(0, "the inner lists of a rule hold text");
                    };
                    all.push(check(text.trim(), 0)?);
                }
                any.push(one_or(all, Check::And));
            }
            _ => return wrong(0, "a rule is text or a list of lists"),
        }
    }
    Ok(if any.is_empty() {
        Check::False
    } else {
        one_or(any, Check::Or)
    })
}
