//! Arguments in and rows out, the same for both engines.
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Column, Row as _, TypeInfo, ValueRef};

use crate::error::StateError;

/// One bound argument. `None` is SQL NULL of that type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// TEXT.
    Text(Option<String>),
    /// BIGINT.
    Int(Option<i64>),
    /// BOOLEAN.
    Bool(Option<bool>),
    /// BYTEA or BLOB.
    Bytes(Option<Vec<u8>>),
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}
impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}
impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}
impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}
impl From<&Option<String>> for Arg {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}
impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}
impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Bool(Some(value))
    }
}
impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

/// The arguments of one statement, in order: `args![id, name, enabled]`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::Arg::from($value)),*] };
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Text(String),
    Int(i64),
    Bool(bool),
    Bytes(Vec<u8>),
}

/// One row of an answer. Columns are read by name.
#[derive(Clone, Debug)]
pub struct Row {
    names: Arc<[String]>,
    cells: Vec<Cell>,
}

impl Arg {
    /// Bytes of its value, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.as_ref().map_or(0, String::len),
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
            Self::Int(_) | Self::Bool(_) => 0,
        }
    }
}

impl Row {
    /// Bytes of its values, about, where each costs `overhead` besides.
    pub(crate) fn size(&self, overhead: usize) -> usize {
        let of = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Null | Cell::Int(_) | Cell::Bool(_) => 0,
        };
        self.cells.iter().map(|cell| overhead + of(cell)).sum()
    }

    fn cell(&self, name: &str) -> Result<&Cell, StateError> {
        let at = self.names.iter().position(|n| n == name);
        at.and_then(|at| self.cells.get(at))
            .ok_or_else(|| StateError::Column(name.to_owned()))
    }

    /// All columns by name: of bytes their BLAKE3, and a BOOLEAN as the engine
    /// keeps it.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let shown = |cell: &Cell| match cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Text(text) => text.as_str().into(),
            Cell::Int(value) => (*value).into(),
            Cell::Bool(value) => (*value).into(),
            Cell::Bytes(bytes) => blake3::hash(bytes).to_hex().as_str().into(),
        };
        let pairs = self.names.iter().zip(&self.cells);
        pairs.map(|(name, cell)| (name.clone(), shown(cell))).collect()
    }

    /// A TEXT column that may be NULL.
    pub fn maybe_text(&self, name: &str) -> Result<Option<String>, StateError> {
        match self.cell(name)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.clone())),
            _ => Err(StateError::Column(name.to_owned())),
        }
    }

    /// A TEXT column that is never NULL.
    pub fn text(&self, name: &str) -> Result<String, StateError> {
        self.maybe_text(name)?
            .ok_or_else(|| StateError::Column(name.to_owned()))
    }

    /// A BIGINT column that may be NULL.
    pub fn maybe_int(&self, name: &str) -> Result<Option<i64>, StateError> {
        match self.cell(name)? {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(*value)),
            _ => Err(StateError::Column(name.to_owned())),
        }
    }

    /// A BIGINT column that is never NULL.
    pub fn int(&self, name: &str) -> Result<i64, StateError> {
        self.maybe_int(name)?
            .ok_or_else(|| StateError::Column(name.to_owned()))
    }

    /// A BOOLEAN column that is never NULL (SQLite keeps it as 0 or 1).
    pub fn bool(&self, name: &str) -> Result<bool, StateError> {
        match self.cell(name)? {
            Cell::Bool(value) => Ok(*value),
            Cell::Int(value) => Ok(*value != 0),
            _ => Err(StateError::Column(name.to_owned())),
        }
    }

    /// A BYTEA or BLOB column that is never NULL.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, StateError> {
        match self.cell(name)? {
            Cell::Bytes(value) => Ok(value.clone()),
            _ => Err(StateError::Column(name.to_owned())),
        }
    }
}

fn encode(error: sqlx::error::BoxDynError) -> StateError {
    StateError::Failed(sqlx::Error::Encode(error))
}

pub(crate) fn sqlite_arguments(args: Vec<Arg>) -> Result<SqliteArguments, StateError> {
    let mut out = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Text(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::Bool(v) => out.add(v),
            Arg::Bytes(v) => out.add(v),
        }
        .map_err(encode)?;
    }
    Ok(out)
}

pub(crate) fn postgres_arguments(args: Vec<Arg>) -> Result<PgArguments, StateError> {
    let mut out = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Text(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::Bool(v) => out.add(v),
            Arg::Bytes(v) => out.add(v),
        }
        .map_err(encode)?;
    }
    Ok(out)
}

pub(crate) fn from_sqlite(rows: Vec<SqliteRow>) -> Result<Vec<Row>, StateError> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let names: Arc<[String]> = first.columns().iter().map(|c| c.name().to_owned()).collect();
    rows.iter()
        .map(|row| {
            let cells = (0..names.len())
                .map(|i| sqlite_cell(row, i))
                .collect::<Result<_, StateError>>()?;
            Ok(Row {
                names: names.clone(),
                cells,
            })
        })
        .collect()
}

fn sqlite_cell(row: &SqliteRow, i: usize) -> Result<Cell, StateError> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    // The storage class of the value, not the declared type of the column:
    // a BOOLEAN column holds integers here.
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" | "BOOLEAN" => Cell::Int(row.try_get_unchecked(i)?),
        "TEXT" => Cell::Text(row.try_get_unchecked(i)?),
        "BLOB" => Cell::Bytes(row.try_get_unchecked(i)?),
        other => return Err(StateError::Column(format!("{i} ({other})"))),
    })
}

pub(crate) fn from_postgres(rows: Vec<PgRow>) -> Result<Vec<Row>, StateError> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let names: Arc<[String]> = first.columns().iter().map(|c| c.name().to_owned()).collect();
    rows.iter()
        .map(|row| {
            let cells = (0..names.len())
                .map(|i| postgres_cell(row, i))
                .collect::<Result<_, StateError>>()?;
            Ok(Row {
                names: names.clone(),
                cells,
            })
        })
        .collect()
}

fn postgres_cell(row: &PgRow, i: usize) -> Result<Cell, StateError> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INT8" => Cell::Int(row.try_get(i)?),
        "INT4" => Cell::Int(i64::from(row.try_get::<i32, _>(i)?)),
        "BOOL" => Cell::Bool(row.try_get(i)?),
        "TEXT" | "VARCHAR" => Cell::Text(row.try_get(i)?),
        "BYTEA" => Cell::Bytes(row.try_get(i)?),
        other => return Err(StateError::Column(format!("{i} ({other})"))),
    })
}
