//! How a stream is cut into equal parts so that it fits a memory budget and the limits of S3.

/// S3 refuses smaller parts, except as the last one. Bytes.
pub const MIN_PART_BYTES: u64 = 5 << 20;
/// S3 takes no more parts than this in one upload.
pub const MAX_PARTS: u64 = 10_000;
/// S3 takes no larger part. Bytes.
const LARGEST_PART_BYTES: u64 = 5 << 30;
const PREFERRED_PART_BYTES: u64 = 8 << 20;
const MEBIBYTE: u64 = 1 << 20;

/// How one object is uploaded: equal parts, several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// Size of every part but the last, in bytes.
    pub part_bytes: u64,
    /// How many parts may be in memory at once, the one being filled included; at least 2.
    pub parts_in_memory: usize,
}

/// An object that cannot be uploaded within the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartPlanError {
    /// The memory budget is too small for the parts this length needs.
    #[error(
        "{length_bytes} bytes need parts of {part_bytes} bytes, two at a time: raise `upload_memory` to {needed_bytes} bytes or more (now {budget_bytes})"
    )]
    Budget {
        /// Announced length of the object.
        length_bytes: u64,
        /// Smallest part size that stays under [`MAX_PARTS`].
        part_bytes: u64,
        /// What `upload_memory` would have to be.
        needed_bytes: u64,
        /// What it is.
        budget_bytes: u64,
    },
    /// The object is larger than S3 can hold.
    #[error("{length_bytes} bytes are more than one object can hold ({MAX_PARTS} parts of 5 GiB)")]
    TooLarge {
        /// Announced length of the object.
        length_bytes: u64,
    },
}

impl PartPlan {
    /// Plans the upload of an object of `length_bytes` with at most `budget_bytes` of part buffers.
    ///
    /// Parts are 8 MiB while that suffices, smaller (5 MiB at least) where the budget is small, and as large as
    /// [`MAX_PARTS`] demands, in whole MiB. One part in a hundred is kept in reserve.
    pub fn new(length_bytes: u64, budget_bytes: u64) -> Result<Self, PartPlanError> {
        let needed = length_bytes.div_ceil(MAX_PARTS - MAX_PARTS / 100).next_multiple_of(MEBIBYTE);
        if needed > LARGEST_PART_BYTES {
            return Err(PartPlanError::TooLarge { length_bytes });
        }
        let affordable = (budget_bytes / 3 / MEBIBYTE * MEBIBYTE).clamp(MIN_PART_BYTES, PREFERRED_PART_BYTES);
        let part_bytes = needed.max(affordable);
        let parts_in_memory = budget_bytes / part_bytes;
        if parts_in_memory < 2 {
            return Err(PartPlanError::Budget {
                length_bytes,
                part_bytes,
                needed_bytes: part_bytes * 2,
                budget_bytes,
            });
        }
        Ok(Self { part_bytes, parts_in_memory: usize::try_from(parts_in_memory).unwrap_or(usize::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_never_run_out_and_never_pass_the_budget() {
        for shift in 0..46 {
            let length = (1_u64 << shift) + 17;
            for budget in [10_u64 << 20, 32 << 20, 48 << 20, 1 << 30, 16 << 30] {
                match PartPlan::new(length, budget) {
                    Ok(plan) => {
                        assert!(length.div_ceil(plan.part_bytes) <= MAX_PARTS);
                        assert!(plan.part_bytes >= MIN_PART_BYTES);
                        assert!(plan.part_bytes * plan.parts_in_memory as u64 <= budget);
                        assert!(plan.parts_in_memory >= 2);
                    }
                    Err(PartPlanError::Budget { needed_bytes, .. }) => {
                        assert!(needed_bytes > budget);
                        assert!(PartPlan::new(length, needed_bytes).is_ok());
                    }
                    Err(PartPlanError::TooLarge { .. }) => assert!(length > 5 << 43),
                }
            }
        }
    }
}
