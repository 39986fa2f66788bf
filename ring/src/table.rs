//! The assignment table: partition x replica -> device number.
//!
//! Partition-major, so that one lookup touches one place in memory. Used by
//! the lookup side (read only) and by the builder (which changes it in place).

/// No device assigned. Never in a finished ring.
pub const NONE: u32 = u32::MAX;

/// More slots than this are refused: 1 GiB of table.
pub const MAX_SLOTS: usize = 1 << 28;

/// Device numbers of every replica of every partition.
///
/// With a fractional replica count the last row covers only the first
/// `last_row` partitions; the cells beyond it stay [`NONE`] and are not slots.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    cells: Vec<u32>,
    parts: usize,
    rows: usize,
    last_row: usize,
}

impl Table {
    /// An empty table of `rows` rows, the last `last_row` partitions long
    /// (`1..=parts`, or 0 when there are no rows). `None` if over [`MAX_SLOTS`].
    pub fn new(parts: usize, rows: usize, last_row: usize) -> Option<Self> {
        let cells = parts.checked_mul(rows).filter(|&cells| cells <= MAX_SLOTS)?;
        if last_row > parts || (last_row == 0) != (rows == 0) {
            return None;
        }
        Some(Self {
            cells: vec![NONE; cells],
            parts,
            rows,
            last_row,
        })
    }

    /// A table for `replicas` (may be fractional) of `parts` partitions.
    pub fn for_replicas(parts: usize, replicas: f64) -> Option<Self> {
        let (rows, last_row) = shape(parts, replicas)?;
        Self::new(parts, rows, last_row)
    }

    /// Slots that `replicas` make over `parts` partitions: the fraction is cut.
    pub fn slots_for(parts: usize, replicas: f64) -> Option<usize> {
        let (rows, last_row) = shape(parts, replicas)?;
        parts.checked_mul(rows.saturating_sub(1))?.checked_add(last_row)
    }

    /// Builds from rows as ring files have them: replica-major, every row full
    /// but the last. `None` when the rows do not fit the shape. The first one
    /// has to be full: a few bytes must not claim a table of gigabytes.
    pub fn from_row_major(parts: usize, ids: &[u32]) -> Option<Self> {
        if parts == 0 || (!ids.is_empty() && ids.len() < parts) {
            return None;
        }
        let rows = ids.len().div_ceil(parts);
        let last_row = if rows == 0 {
            0
        } else {
            ids.len() - (rows - 1) * parts
        };
        let mut table = Self::new(parts, rows, last_row)?;
        for (row, chunk) in ids.chunks(parts).enumerate() {
            for (part, &id) in chunk.iter().enumerate() {
                table.cells[part * rows + row] = id;
            }
        }
        Some(table)
    }

    /// Number of partitions.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Number of rows (replicas, a fraction counted as one).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of the last row.
    pub fn last_row(&self) -> usize {
        self.last_row
    }

    /// Slots in all: part-replicas.
    pub fn slots(&self) -> usize {
        if self.rows == 0 {
            0
        } else {
            (self.rows - 1) * self.parts + self.last_row
        }
    }

    /// Replicas a partition has on average.
    pub fn replica_count(&self) -> f64 {
        if self.rows == 0 {
            0.0
        } else {
            (self.rows - 1) as f64 + self.last_row as f64 / self.parts as f64
        }
    }

    /// How many replicas `part` has.
    pub fn width(&self, part: usize) -> usize {
        if part < self.last_row {
            self.rows
        } else {
            self.rows.saturating_sub(1)
        }
    }

    /// The devices of `part`, in row order. Empty beyond the last partition.
    #[inline]
    pub fn of(&self, part: usize) -> &[u32] {
        if part >= self.parts {
            return &[];
        }
        let start = part * self.rows;
        self.cells
            .get(start..start + self.width(part))
            .unwrap_or_default()
    }

    /// The devices of `part`, to be changed. Empty beyond the last partition.
    pub fn of_mut(&mut self, part: usize) -> &mut [u32] {
        if part >= self.parts {
            return &mut [];
        }
        let start = part * self.rows;
        let end = start + self.width(part);
        self.cells.get_mut(start..end).unwrap_or_default()
    }

    /// The entries of one row, partition by partition.
    pub fn row(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        let len = match (row + 1).cmp(&self.rows) {
            std::cmp::Ordering::Less => self.parts,
            std::cmp::Ordering::Equal => self.last_row,
            std::cmp::Ordering::Greater => 0,
        };
        (0..len).map(move |part| self.cells[part * self.rows + row])
    }

    /// All slots, replica-major, as ring files store them.
    pub fn row_major(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.rows).flat_map(|row| self.row(row))
    }

    /// Slots per device number; the list covers `0..devices`.
    pub fn count_by_device(&self, devices: usize) -> Vec<u64> {
        let mut counts = vec![0; devices];
        for part in 0..self.parts {
            for &id in self.of(part) {
                if let Some(count) = counts.get_mut(id as usize) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// The same table with each partition split in two (a power increase):
    /// new partitions 2p and 2p+1 are what p was.
    pub fn doubled(&self) -> Option<Self> {
        let mut out = Self::new(self.parts.checked_mul(2)?, self.rows, self.last_row * 2)?;
        for part in 0..out.parts {
            out.of_mut(part).copy_from_slice(self.of(part / 2));
        }
        Some(out)
    }
}

/// Rows and length of the last row of `replicas` over `parts` partitions.
pub fn shape(parts: usize, replicas: f64) -> Option<(usize, usize)> {
    if !replicas.is_finite() || replicas <= 0.0 || replicas > 1e6 || parts == 0 {
        return None;
    }
    let whole = replicas.floor() as usize;
    let part = (parts as f64 * (replicas - replicas.floor())) as usize;
    Some(if part == 0 {
        (whole, if whole == 0 { 0 } else { parts })
    } else {
        (whole + 1, part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fractional_table_is_short_in_its_last_row_only() {
        let table = Table::for_replicas(8, 2.37).unwrap();
        assert_eq!((table.rows(), table.last_row(), table.slots()), (3, 2, 18));
        assert_eq!(table.of(1).len(), 3);
        assert_eq!(table.of(2).len(), 2);
        assert_eq!(table.of(8).len(), 0);
        assert_eq!(table.of(usize::MAX).len(), 0);
    }

    #[test]
    fn rows_of_a_file_come_back_in_the_same_order() {
        let ids: Vec<u32> = (0..21).collect();
        let table = Table::from_row_major(8, &ids).unwrap();
        assert_eq!(table.of(0), [0, 8, 16]);
        assert_eq!(table.of(7), [7, 15]);
        assert_eq!(table.row_major().collect::<Vec<_>>(), ids);
    }

    #[test]
    fn a_table_takes_no_more_memory_than_its_rows_account_for() {
        assert_eq!(Table::from_row_major(MAX_SLOTS, &[0]), None);
        assert_eq!(Table::from_row_major(4, &[0, 1, 2]), None);
        assert_eq!(Table::from_row_major(4, &[]).unwrap().slots(), 0);
    }

    #[test]
    fn a_doubled_table_keeps_every_name_where_it_was() {
        let table = Table::from_row_major(2, &[1, 2, 3]).unwrap().doubled().unwrap();
        assert_eq!(table.row_major().collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn shapes_that_contradict_themselves_are_refused() {
        for (parts, rows, last_row, good) in [
            (4, 2, 4, true),
            (4, 2, 1, true),
            (4, 2, 5, false),
            (4, 2, 0, false),
            (4, 0, 1, false),
            (4, 0, 0, true),
            (MAX_SLOTS, 2, 1, false),
            (usize::MAX, 2, 1, false),
        ] {
            assert_eq!(
                Table::new(parts, rows, last_row).is_some(),
                good,
                "{parts} {rows} {last_row}"
            );
        }
        for replicas in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e6 + 1.0] {
            assert_eq!(shape(4, replicas), None, "{replicas}");
        }
        assert_eq!((shape(0, 3.0), shape(4, 1e6)), (None, Some((1_000_000, 4))));
        assert_eq!((shape(4, 0.1), shape(4, 0.5)), (Some((0, 0)), Some((1, 2))));
    }

    #[test]
    fn a_table_says_how_many_slots_it_has_and_whose_they_are() {
        for replicas in [1.0, 2.37, 3.0, 0.5] {
            let table = Table::for_replicas(8, replicas).unwrap();
            assert_eq!(Table::slots_for(8, replicas), Some(table.slots()));
            let slots: usize = (0..9).map(|part| table.of(part).len()).sum();
            assert_eq!((table.slots(), table.row_major().count()), (slots, slots));
            assert_eq!(table.replica_count(), slots as f64 / 8.0);
            assert_eq!((table.row(table.rows()).count(), table.parts()), (0, 8));
        }
        assert_eq!(
            (Table::default().slots(), Table::default().replica_count()),
            (0, 0.0)
        );
        let mut table = Table::from_row_major(4, &[0, 1, 2, 0, 7, 1]).unwrap();
        assert_eq!(table.count_by_device(3), [2, 2, 1]);
        assert_eq!(table.row(1).collect::<Vec<_>>(), [7, 1]);
        table.of_mut(2).fill(1);
        assert_eq!(
            (table.of(1), table.of(2), table.of(3)),
            (&[1, 1][..], &[1][..], &[0][..])
        );
        assert!(table.of_mut(4).is_empty() && table.of_mut(usize::MAX).is_empty());
    }
}
