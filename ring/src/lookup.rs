//! The assignment table as lookups want it: one cache line a partition.
//!
//! [`Table`] is what the builder changes: four bytes a slot. A ring that is
//! only looked up in holds this instead: two bytes a slot while device numbers
//! allow it, the slots of a partition side by side and padded so that they
//! never straddle a line of 64 bytes (with up to 32 replicas). Owned by
//! [`crate::Ring`]; ring files are read straight into it.
use crate::table::{MAX_SLOTS, NONE, Table};

/// Means "no device" where a device number takes two bytes.
const NONE_NARROW: u16 = u16::MAX;
/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// A device number as the table stores it.
pub(crate) trait Cell: Copy + Eq {
    /// No device.
    const NONE: Self;
    /// Bytes of it.
    const BYTES: usize = size_of::<Self>();
    /// The number; [`NONE`] for no device.
    fn wide(self) -> u32;
    /// Its bytes, least first.
    fn write(self, out: &mut Vec<u8>);
    /// Reads what [`Cell::write`] wrote.
    fn read_all(from: &[u8], to: &mut [Self]);
}

impl Cell for u16 {
    const NONE: Self = NONE_NARROW;
    #[inline]
    fn wide(self) -> u32 {
        if self == NONE_NARROW { NONE } else { self.into() }
    }
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read_all(from: &[u8], to: &mut [Self]) {
        for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
            *to = Self::from_le_bytes(*from);
        }
    }
}

impl Cell for u32 {
    const NONE: Self = NONE;
    #[inline]
    fn wide(self) -> u32 {
        self
    }
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read_all(from: &[u8], to: &mut [Self]) {
        for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
            *to = Self::from_le_bytes(*from);
        }
    }
}

/// Cells of which the first in use lies on a cache line.
#[derive(Debug)]
pub(crate) struct Cells<T> {
    store: Vec<T>,
    base: usize,
    len: usize,
}

impl<T: Cell> Cells<T> {
    /// `len` cells without a device.
    fn new(len: usize) -> Self {
        let store = vec![T::NONE; len + LINE / T::BYTES];
        // How far it is to a line's start. Only speed hangs on it, so a
        // platform that cannot say gets 0. The vector never grows, so it holds.
        let base = Some(store.as_ptr().align_offset(LINE)).filter(|&at| at < LINE / T::BYTES);
        Self {
            store,
            base: base.unwrap_or(0),
            len,
        }
    }

    #[inline]
    fn get(&self, at: usize, len: usize) -> &[T] {
        let at = self.base + at;
        self.store.get(at..at + len).unwrap_or_default()
    }

    pub(crate) fn all(&self) -> &[T] {
        self.get(0, self.len)
    }

    pub(crate) fn all_mut(&mut self) -> &mut [T] {
        let end = self.base + self.len;
        self.store.get_mut(self.base..end).unwrap_or_default()
    }
}

/// Cells of either width.
#[derive(Debug)]
pub(crate) enum Width {
    Narrow(Cells<u16>),
    Wide(Cells<u32>),
}

/// Device numbers of every replica of every partition, to be read only.
#[derive(Debug)]
pub(crate) struct LookupTable {
    pub(crate) cells: Width,
    parts: usize,
    rows: usize,
    last_row: usize,
    /// Cells from one partition to the next.
    stride: usize,
}

/// The slots of one partition, in row order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slots<'a> {
    /// Up to four device numbers of two bytes, the first in the lowest bits, and how many there are.
    Few(u64, u8),
    Narrow(&'a [u16]),
    Wide(&'a [u32]),
}

impl Slots<'_> {
    #[inline]
    pub(crate) fn get(self, at: usize) -> Option<u32> {
        match self {
            Slots::Few(word, len) => (at < usize::from(len)).then(|| ((word >> (16 * at)) as u16).wide()),
            Slots::Narrow(cells) => cells.get(at).map(|id| id.wide()),
            Slots::Wide(cells) => cells.get(at).copied(),
        }
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        match self {
            Slots::Few(_, len) => len.into(),
            Slots::Narrow(cells) => cells.len(),
            Slots::Wide(cells) => cells.len(),
        }
    }

    /// Takes the first slot off.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<u32> {
        match self {
            Slots::Few(word, len) => {
                *len = len.checked_sub(1)?;
                let first = *word as u16;
                *word >>= 16;
                Some(first.wide())
            }
            Slots::Narrow(cells) => {
                let (first, rest) = cells.split_first()?;
                *cells = rest;
                Some(first.wide())
            }
            Slots::Wide(cells) => {
                let (first, rest) = cells.split_first()?;
                *cells = rest;
                Some(*first)
            }
        }
    }

    /// Whether one of the first `end` slots has this device.
    pub(crate) fn has_before(self, end: usize, id: u32) -> bool {
        (0..end).any(|at| self.get(at) == Some(id))
    }
}

/// Whether numbers of a list of so many devices take two bytes.
pub(crate) fn is_narrow(devices: usize) -> bool {
    devices <= usize::from(NONE_NARROW)
}

fn stride_of(rows: usize) -> usize {
    match rows {
        0 => 0,
        1..=16 => rows.next_power_of_two(),
        _ => rows.next_multiple_of(16),
    }
}

impl LookupTable {
    /// Like [`Table::new`], for numbers of `devices` devices.
    pub(crate) fn new(parts: usize, rows: usize, last_row: usize, devices: usize) -> Option<Self> {
        let slots = parts.checked_mul(rows).filter(|&slots| slots <= MAX_SLOTS);
        if slots.is_none() || last_row > parts || (last_row == 0) != (rows == 0) {
            return None;
        }
        let stride = stride_of(rows);
        let len = parts * stride;
        Some(Self {
            cells: if is_narrow(devices) {
                Width::Narrow(Cells::new(len))
            } else {
                Width::Wide(Cells::new(len))
            },
            parts,
            rows,
            last_row,
            stride,
        })
    }

    /// Takes over `table`, whose device numbers are below `devices`; others
    /// become "no device".
    pub(crate) fn of(table: &Table, devices: usize) -> Option<Self> {
        let mut made = Self::new(table.parts(), table.rows(), table.last_row(), devices)?;
        let stride = made.stride.max(1);
        match &mut made.cells {
            Width::Narrow(cells) => {
                for (part, to) in cells.all_mut().chunks_exact_mut(stride).enumerate() {
                    for (to, &id) in to.iter_mut().zip(table.of(part)) {
                        *to = u16::try_from(id).unwrap_or(NONE_NARROW);
                    }
                }
            }
            Width::Wide(cells) => {
                for (part, to) in cells.all_mut().chunks_exact_mut(stride).enumerate() {
                    let from = table.of(part);
                    to[..from.len()].copy_from_slice(from);
                }
            }
        }
        Some(made)
    }

    /// The same as a table that a builder can change.
    pub(crate) fn to_table(&self) -> Table {
        // The shape was checked against the same limits.
        let mut table = Table::new(self.parts, self.rows, self.last_row).unwrap_or_default();
        for part in 0..self.parts {
            let from = self.slots(part);
            for (at, to) in table.of_mut(part).iter_mut().enumerate() {
                *to = from.get(at).unwrap_or(NONE);
            }
        }
        table
    }

    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn last_row(&self) -> usize {
        self.last_row
    }

    /// Slots in all: part-replicas.
    pub(crate) fn slot_count(&self) -> usize {
        (self.rows.saturating_sub(1)) * self.parts + self.last_row
    }

    /// Replicas of a partition on average.
    pub(crate) fn replica_count(&self) -> f64 {
        if self.rows == 0 {
            0.0
        } else {
            (self.rows - 1) as f64 + self.last_row as f64 / self.parts as f64
        }
    }

    /// The slots of `part`. None beyond the last partition.
    #[inline]
    pub(crate) fn slots(&self, part: usize) -> Slots<'_> {
        let width = if part < self.last_row {
            self.rows
        } else if part < self.parts {
            self.rows.saturating_sub(1)
        } else {
            0
        };
        let at = part * self.stride;
        match &self.cells {
            // One load for the whole row: the usual case.
            Width::Narrow(cells) if self.stride == 4 => match cells.get(at, 4).first_chunk() {
                Some(&[a, b, c, d]) => {
                    let word = u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48;
                    Slots::Few(word, width as u8)
                }
                None => Slots::Few(0, 0),
            },
            Width::Narrow(cells) => Slots::Narrow(cells.get(at, width)),
            Width::Wide(cells) => Slots::Wide(cells.get(at, width)),
        }
    }

    /// Which devices own a slot, and whether some partition has a device
    /// twice. The first slot with a device that is not `listed` is the error:
    /// its partition and what it names.
    pub(crate) fn scan(&self, listed: &[bool]) -> Result<Scan, (usize, u32)> {
        let mut scan = Scan {
            used: vec![false; listed.len()],
            repeats: false,
        };
        let unknown = match &self.cells {
            Width::Narrow(cells) => scan.over(cells.all(), self),
            Width::Wide(cells) => scan.over(cells.all(), self),
        };
        if !unknown
            && scan
                .used
                .iter()
                .zip(listed)
                .all(|(used, listed)| *listed || !used)
        {
            return Ok(scan);
        }
        // Rare, so it may take its time: which slot is it?
        for part in 0..self.parts {
            let row = self.slots(part);
            for id in (0..row.len()).filter_map(|at| row.get(at)) {
                if listed.get(id as usize) != Some(&true) {
                    return Err((part, id));
                }
            }
        }
        Ok(scan)
    }

    /// Length of one row.
    pub(crate) fn row_len(&self, row: usize) -> usize {
        match (row + 1).cmp(&self.rows) {
            std::cmp::Ordering::Less => self.parts,
            std::cmp::Ordering::Equal => self.last_row,
            std::cmp::Ordering::Greater => 0,
        }
    }
}

/// What a look at every slot finds; see [`LookupTable::scan`].
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) used: Vec<bool>,
    pub(crate) repeats: bool,
}

impl Scan {
    /// Looks at every slot; true if one has a number beyond the list.
    fn over<T: Cell>(&mut self, cells: &[T], table: &LookupTable) -> bool {
        // Widths differ at most once.
        let (full, short) = cells.split_at(table.last_row * table.stride);
        let last = table.rows.saturating_sub(1);
        let mut unknown = false;
        for (cells, width) in [(full, table.rows), (short, last)] {
            let rows = cells.chunks_exact(table.stride.max(1));
            // The usual widths with loops that the compiler unrolls: a start
            // from a map spends most of its time here.
            unknown |= match width {
                2 => self.mark(rows.filter_map(<[T]>::first_chunk::<2>)),
                3 => self.mark(rows.filter_map(<[T]>::first_chunk::<3>)),
                4 => self.mark(rows.filter_map(<[T]>::first_chunk::<4>)),
                _ => self.mark(rows.map(|row| &row[..width])),
            };
        }
        unknown
    }

    #[inline(always)]
    fn mark<'a, T: Cell + 'a, R: AsRef<[T]> + ?Sized + 'a>(
        &mut self,
        rows: impl Iterator<Item = &'a R>,
    ) -> bool {
        let (mut unknown, mut repeats) = (false, false);
        for row in rows {
            let row = row.as_ref();
            for (at, &cell) in row.iter().enumerate() {
                match self.used.get_mut(cell.wide() as usize) {
                    Some(used) => *used = true,
                    None => unknown = true,
                }
                // No early end: a branch costs more than a comparison.
                repeats |= row[..at]
                    .iter()
                    .fold(false, |seen, &other| seen | (other == cell));
            }
        }
        self.repeats |= repeats;
        unknown
    }
}

/// Cells are read and written in pieces of so many bytes, so that a piece is
/// still in the processor's cache when it is hashed and stored.
const PIECE: usize = 64 << 10;

impl LookupTable {
    /// All bytes of the cells, padding too, piece by piece: the same for the
    /// same slots whatever machine it is.
    pub(crate) fn each_piece(&self, mut each: impl FnMut(&[u8])) {
        fn pieces<T: Cell>(cells: &[T], each: &mut impl FnMut(&[u8])) {
            let mut piece = Vec::with_capacity(PIECE);
            for cells in cells.chunks(PIECE / T::BYTES) {
                piece.clear();
                cells.iter().for_each(|cell| cell.write(&mut piece));
                each(&piece);
            }
        }
        match &self.cells {
            Width::Narrow(cells) => pieces(cells.all(), &mut each),
            Width::Wide(cells) => pieces(cells.all(), &mut each),
        }
    }

    /// Fills the cells with bytes that [`LookupTable::each_piece`] gave.
    /// `fill` fills the piece it is given.
    pub(crate) fn fill<E>(&mut self, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        fn pieces<T: Cell, E>(
            cells: &mut [T],
            fill: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
        ) -> Result<(), E> {
            let mut piece = vec![0; PIECE];
            for cells in cells.chunks_mut(PIECE / T::BYTES) {
                let bytes = &mut piece[..cells.len() * T::BYTES];
                fill(bytes)?;
                T::read_all(bytes, cells);
            }
            Ok(())
        }
        match &mut self.cells {
            Width::Narrow(cells) => pieces(cells.all_mut(), &mut fill),
            Width::Wide(cells) => pieces(cells.all_mut(), &mut fill),
        }
    }

    /// Bytes of one cell and of all cells that a table of this shape has;
    /// `None` beyond the limits.
    pub(crate) fn bytes_for(parts: usize, rows: usize, devices: usize) -> Option<(u64, u64)> {
        parts.checked_mul(rows).filter(|&slots| slots <= MAX_SLOTS)?;
        let bytes = if is_narrow(devices) { 2 } else { 4 };
        let cells = parts.checked_mul(stride_of(rows))? as u64;
        Some((bytes, cells.checked_mul(bytes)?))
    }

    /// Bytes of one cell.
    pub(crate) fn bytes_of_a_cell(&self) -> u16 {
        match &self.cells {
            Width::Narrow(_) => 2,
            Width::Wide(_) => 4,
        }
    }

    /// Bytes of all cells.
    pub(crate) fn cell_bytes(&self) -> u64 {
        (self.parts * self.stride) as u64 * u64::from(self.bytes_of_a_cell())
    }
}

/// How a file stores device numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Little2,
    Big2,
    Big4,
}

impl Encoding {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Encoding::Little2 | Encoding::Big2 => 2,
            Encoding::Big4 => 4,
        }
    }

    /// Reads one number; what stands for "unassigned" becomes [`NONE`].
    fn read(self, bytes: &[u8]) -> u32 {
        let narrow = |id: u16| if id == NONE_NARROW { NONE } else { id.into() };
        match (self, bytes) {
            (Encoding::Little2, &[a, b]) => narrow(u16::from_le_bytes([a, b])),
            (Encoding::Big2, &[a, b]) => narrow(u16::from_be_bytes([a, b])),
            (Encoding::Big4, &[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            _ => NONE,
        }
    }
}

impl LookupTable {
    /// Reads rows as ring files have them: replica-major, every row full but
    /// the last. `None` when they do not fit the shape; the first has to be
    /// full, so that a few bytes cannot claim gigabytes. Numbers not below
    /// `devices` become "no device" where they do not fit the cells.
    pub(crate) fn from_rows(parts: usize, rows: &[u8], encoding: Encoding, devices: usize) -> Option<Self> {
        let ids = rows.len() / encoding.bytes();
        if parts == 0 || ids * encoding.bytes() != rows.len() {
            return None;
        }
        if ids > 0 && ids < parts {
            return None;
        }
        let count = ids.div_ceil(parts);
        let last_row = ids - count.saturating_sub(1) * parts;
        let mut made = Self::new(parts, count, last_row, devices)?;
        let stride = made.stride.max(1);
        for (row, ids) in rows.chunks(parts * encoding.bytes()).enumerate() {
            match (&mut made.cells, encoding) {
                // The usual case, in a form that the compiler makes fast.
                (Width::Narrow(cells), Encoding::Little2) => {
                    let to = cells.all_mut().chunks_exact_mut(stride);
                    for (to, id) in to.zip(ids.as_chunks::<2>().0) {
                        to[row] = u16::from_le_bytes(*id);
                    }
                }
                (Width::Narrow(cells), _) => {
                    let to = cells.all_mut().chunks_exact_mut(stride);
                    for (to, id) in to.zip(ids.chunks_exact(encoding.bytes())) {
                        to[row] = u16::try_from(encoding.read(id)).unwrap_or(NONE_NARROW);
                    }
                }
                (Width::Wide(cells), _) => {
                    let to = cells.all_mut().chunks_exact_mut(stride);
                    for (to, id) in to.zip(ids.chunks_exact(encoding.bytes())) {
                        to[row] = encoding.read(id);
                    }
                }
            }
        }
        Some(made)
    }

    /// Appends the rows to `out` as files store them. The first number that
    /// two bytes cannot hold is the error.
    pub(crate) fn write_rows(&self, out: &mut Vec<u8>, encoding: Encoding) -> Result<(), u32> {
        let start = out.len();
        out.resize(start + self.slot_count() * encoding.bytes(), 0);
        let mut rest = &mut out[start..];
        for row in 0..self.rows {
            let (to, after) = rest.split_at_mut(self.row_len(row) * encoding.bytes());
            match &self.cells {
                Width::Narrow(cells) => write_row(cells.all().chunks_exact(self.stride), row, to, encoding)?,
                Width::Wide(cells) => write_row(cells.all().chunks_exact(self.stride), row, to, encoding)?,
            }
            rest = after;
        }
        Ok(())
    }
}

/// Writes the cells of one row, partition by partition, as far as `to` reaches.
fn write_row<'a, T: Cell + 'a>(
    parts: impl Iterator<Item = &'a [T]>,
    row: usize,
    to: &mut [u8],
    encoding: Encoding,
) -> Result<(), u32> {
    let narrow = |cell: T| {
        let id = cell.wide();
        u16::try_from(id).ok().filter(|&id| id != NONE_NARROW).ok_or(id)
    };
    for (part, to) in parts.zip(to.chunks_exact_mut(encoding.bytes())) {
        match encoding {
            Encoding::Little2 => to.copy_from_slice(&narrow(part[row])?.to_le_bytes()),
            Encoding::Big2 => to.copy_from_slice(&narrow(part[row])?.to_be_bytes()),
            Encoding::Big4 => to.copy_from_slice(&part[row].wide().to_be_bytes()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
