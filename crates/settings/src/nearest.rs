//! The nearest known word to one that was mistyped.

/// The word of `known` that `word` was most likely meant to be: at most one edit in three characters away, and at
/// least one edit is always allowed.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, substitutions and swaps of neighbours make `from` into `to`.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().flat_map(char::to_lowercase).collect();
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut rows = vec![vec![0_usize; to.len() + 1]; from.len() + 1];
    for (row, cells) in rows.iter_mut().enumerate() {
        cells[0] = row;
    }
    rows[0] = (0..=to.len()).collect();
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let changed = usize::from(from[i - 1] != to[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_its_word_and_another_word_does_not() {
        let known = ["schedule", "time_zone", "to", "keep"];
        assert_eq!(nearest("shedule", known), Some("schedule"));
        assert_eq!(nearest("Schedule", known), Some("schedule"));
        assert_eq!(nearest("scehdule", known), Some("schedule"));
        assert_eq!(nearest("timezone", known), Some("time_zone"));
        assert_eq!(nearest("keeep", known), Some("keep"));
        assert_eq!(nearest("destination", known), None);
        assert_eq!(nearest("xyz", known), None);
    }
}
