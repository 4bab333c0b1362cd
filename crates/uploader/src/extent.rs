//! What a byte range and a set of parts mean for an object, the same for every store.

use std::{collections::BTreeMap, ops::Range};

use convault_core::{StoreError, StoreErrorKind};

use crate::failure::Attempt;

/// The part of `range` that an object of `size_bytes` has. The end is cut to the size, as S3 does; a beginning
/// past the end is an error, except that an empty range may begin just there.
pub(crate) fn within(
    range: Option<Range<u64>>,
    size_bytes: u64,
    attempt: &Attempt,
) -> Result<Range<u64>, StoreError> {
    let Some(range) = range else { return Ok(0..size_bytes) };
    let empty = range.start >= range.end;
    if range.start > size_bytes || (range.start == size_bytes && !empty) {
        return Err(past_the_end(&range, Some(size_bytes), attempt));
    }
    Ok(range.start..range.end.clamp(range.start, size_bytes.max(range.start)))
}

/// The error for a range that begins past the end.
pub(crate) fn past_the_end(range: &Range<u64>, size_bytes: Option<u64>, attempt: &Attempt) -> StoreError {
    let size = size_bytes.map(|size| format!(" of {size} bytes")).unwrap_or_default();
    attempt.failed(
        StoreErrorKind::Other,
        format!("the range begins at byte {}, past the end{size}", range.start),
    )
}

/// The length of an object made of these parts (number and size), if they have no gap and all but the last
/// are `part_bytes` long.
pub(crate) fn whole(
    parts: &BTreeMap<u32, u64>,
    part_bytes: u64,
    attempt: &Attempt,
) -> Result<u64, StoreError> {
    for (expected, (number, size)) in (1..).zip(parts) {
        if expected != *number {
            let message = format!("part {expected} was never sent, but part {number} was");
            return Err(attempt.failed(StoreErrorKind::Other, message));
        }
        let last = parts.len() as u64 == u64::from(expected);
        if *size > part_bytes || (!last && *size != part_bytes) {
            let message = format!("part {number} has {size} bytes, but parts have {part_bytes}");
            return Err(attempt.failed(StoreErrorKind::Other, message));
        }
    }
    Ok(parts.values().sum())
}

#[cfg(test)]
mod tests {
    use convault_core::DestinationName;

    use super::*;

    #[test]
    fn a_range_is_cut_to_the_object_and_may_not_begin_past_it() {
        let attempt = Attempt::new(&DestinationName::new("shelf").unwrap(), "get", "k");
        let cut = |range| within(range, 10, &attempt).ok();
        assert_eq!(cut(None), Some(0..10));
        assert_eq!(cut(Some(2..5)), Some(2..5));
        assert_eq!(cut(Some(8..50)), Some(8..10));
        assert_eq!(cut(Some(10..10)), Some(10..10));
        assert_eq!(cut(Some(10..11)), None);
        assert_eq!(cut(Some(11..11)), None);
    }
}
