//! The common part of all rows: the columns as values, and a checksum over them.
//!
//! SQLite does not detect most single flipped bits, so a row is used only if its checksum is right. The checksum is against
//! damage, not against an enemy, who could write it as well.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, Row, ToSql};
use twox_hash::XxHash3_64;

use caduceus_contract::link::{LinkId, Target};

/// The row is not as it was written. The reader has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CorruptRow;

// A value of the wrong type, or text that is no longer valid.
impl From<rusqlite::Error> for CorruptRow {
    fn from(_: rusqlite::Error) -> Self {
        Self
    }
}

pub(super) fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

pub(super) fn maybe(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()))
}

pub(super) fn maybe_integer(number: Option<i64>) -> ValueRef<'static> {
    number.map_or(ValueRef::Null, ValueRef::Integer)
}

/// A state's number, as a value.
pub(super) fn code(code: usize) -> ValueRef<'static> {
    // Codes are below ten.
    ValueRef::Integer(i64::try_from(code).unwrap_or(i64::MAX))
}

/// The number of a state in column `column`.
pub(super) fn code_at(row: &Row<'_>, column: usize) -> Result<usize, CorruptRow> {
    usize::try_from(row.get::<_, i64>(column)?).map_err(|_| CorruptRow)
}

/// The number of a row is below this; one above it is damage.
pub(super) const BEYOND: i64 = 1 << 47;

/// Whether this can be the number of a row.
pub(super) fn is_plausible(row: i64) -> bool {
    (1..BEYOND).contains(&row)
}

/// Whether SQLite says that a part of the file is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// The integer in column `column`, or -1 if damage made it something else, which the column does not allow.
pub(super) fn integer(row: &Row<'_>, column: usize) -> i64 {
    row.get(column).unwrap_or(-1)
}

/// XXH3 over the values and their positions.
pub(super) fn checksum(part: &str, id: i64, values: &[ValueRef<'_>]) -> i64 {
    // At once: a hash of many short pieces takes longer.
    XxHash3_64::oneshot(&encoded(part, id, values)).cast_signed()
}

/// The values as bytes, so that different values, or values in other columns, are different bytes.
pub(super) fn encoded(part: &str, id: i64, values: &[ValueRef<'_>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(512);
    // Lengths and types are included, so that a byte that moves to the neighbouring column is detected.
    let mut feed = |kind: u8, bytes: &[u8]| {
        all.push(kind);
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    };
    feed(b'p', part.as_bytes());
    feed(b'i', &id.to_le_bytes());
    for value in values {
        match value {
            ValueRef::Null => feed(b'n', &[]),
            ValueRef::Integer(number) => feed(b'i', &number.to_le_bytes()),
            ValueRef::Real(number) => feed(b'r', &number.to_le_bytes()),
            ValueRef::Text(bytes) => feed(b't', bytes),
            ValueRef::Blob(bytes) => feed(b'b', bytes),
        }
    }
    all
}

/// Whether the `count` columns from `first` on match the checksum in the column after them.
pub(super) fn verify(part: &str, id: i64, row: &Row<'_>, first: usize, count: usize) -> Result<(), CorruptRow> {
    let values = (first..first + count).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
    if row.get::<_, i64>(first + count)? == checksum(part, id, &values) { Ok(()) } else { Err(CorruptRow) }
}

/// Values as parameters of a statement.
pub(super) fn params<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> impl rusqlite::Params {
    rusqlite::params_from_iter(values.into_iter().map(Param))
}

struct Param<'a>(ValueRef<'a>);

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// Columns of [`Target`], in the order of the tables.
pub(super) const TARGET_COLUMNS: usize = 7;

pub(super) fn target_values(target: &Target) -> [ValueRef<'_>; TARGET_COLUMNS] {
    [
        text(&target.link.0),
        text(&target.platform),
        text(&target.chat_id),
        maybe(target.bot_id.as_deref()),
        maybe(target.scope_id.as_deref()),
        maybe(target.user_id.as_deref()),
        maybe(target.thread_id.as_deref()),
    ]
}

/// The [`Target`] whose columns begin at `first`.
pub(super) fn target(row: &Row<'_>, first: usize) -> Result<Arc<Target>, CorruptRow> {
    Ok(Arc::new(Target {
        link: LinkId(row.get(first)?),
        platform: row.get(first + 1)?,
        chat_id: row.get(first + 2)?,
        bot_id: row.get(first + 3)?,
        scope_id: row.get(first + 4)?,
        user_id: row.get(first + 5)?,
        thread_id: row.get(first + 6)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_moves_to_the_next_column_or_row_changes_the_checksum() {
        let sum = |id, values: &[ValueRef<'_>]| checksum("part", id, values);
        let base = sum(1, &[text("ab"), text("c"), ValueRef::Null]);
        assert_eq!(base, sum(1, &[text("ab"), text("c"), ValueRef::Null]));
        assert_ne!(base, sum(1, &[text("a"), text("bc"), ValueRef::Null]));
        assert_ne!(base, sum(1, &[text("ab"), text("c"), text("")]));
        assert_ne!(base, sum(2, &[text("ab"), text("c"), ValueRef::Null]));
        assert_ne!(base, checksum("other", 1, &[text("ab"), text("c"), ValueRef::Null]));
        assert_ne!(sum(1, &[ValueRef::Integer(0)]), sum(1, &[ValueRef::Real(0.0)]));
    }
}
