//! [`Names`]: many names of file objects in little memory, with a mark on each.

use convault_core::Sha256;

/// So much of a name is held. Two names that agree in 160 bits are not found by chance, nor by anybody who tries.
const PREFIX_BYTES: usize = 20;

/// The beginning of a name.
pub(crate) type Prefix = [u8; PREFIX_BYTES];

fn prefix(name: &Sha256) -> Prefix {
    std::array::from_fn(|at| name.0[at])
}

/// Names in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Prefix>);

impl Names {
    /// Adds a name, which must be greater than every one before.
    pub(crate) fn push(&mut self, name: &Sha256) {
        self.0.push(prefix(name));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a name.
    pub(crate) fn find(&self, name: &Sha256) -> Option<usize> {
        self.find_prefix(&prefix(name))
    }

    /// The place of a name that begins like this.
    pub(crate) fn find_prefix(&self, prefix: &Prefix) -> Option<usize> {
        self.0.binary_search(prefix).ok()
    }

    /// The beginning of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Prefix> {
        self.0.iter()
    }
}

/// One mark for each place of something.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Marks for so many places, none set.
    pub(crate) fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    /// Sets a mark; gives whether it was set before.
    pub(crate) fn set(&mut self, place: usize) -> bool {
        let (word, bit) = (&mut self.0[place / 64], 1 << (place % 64));
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    /// Whether a mark is set.
    pub(crate) fn is_set(&self, place: usize) -> bool {
        self.0[place / 64] & 1 << (place % 64) != 0
    }
}

/// Names in the order in which they come, to be asked for again.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Each sorted.
    runs: Vec<Vec<Prefix>>,
    latest: Vec<Prefix>,
}

/// So many are looked through one by one.
const LATEST: usize = 256;
/// Runs grow no longer, since bringing two together takes memory for both.
const LONGEST: usize = 1 << 16;

impl Seen {
    /// Adds a name.
    pub(crate) fn add(&mut self, name: &Sha256) {
        self.latest.push(prefix(name));
        if self.latest.len() < LATEST {
            return;
        }
        let mut run = std::mem::take(&mut self.latest);
        while let Some(before) =
            self.runs.pop_if(|before| before.len() < 2 * run.len() && before.len() + run.len() <= LONGEST)
        {
            run.extend(before);
        }
        run.sort_unstable();
        run.dedup();
        run.shrink_to_fit();
        self.runs.push(run);
    }

    /// Whether a name was added.
    pub(crate) fn has(&self, name: &Sha256) -> bool {
        self.has_prefix(&prefix(name))
    }

    /// Whether a name was added that begins like this.
    pub(crate) fn has_prefix(&self, prefix: &Prefix) -> bool {
        self.latest.contains(prefix) || self.runs.iter().any(|run| run.binary_search(prefix).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> Sha256 {
        Sha256::of(&number.to_le_bytes())
    }

    #[test]
    fn names_are_found_where_they_are() {
        let mut all: Vec<Sha256> = (0..1000).map(name).collect();
        all.sort();
        let mut names = Names::default();
        for name in &all {
            names.push(name);
        }
        assert_eq!(names.len(), 1000);
        for (place, name) in all.iter().enumerate() {
            assert_eq!(names.find(name), Some(place));
        }
        assert_eq!(names.find(&name(1000)), None);
    }

    #[test]
    fn what_was_added_is_known_and_nothing_else() {
        let mut seen = Seen::default();
        for number in 0..5000 {
            assert!(!seen.has(&name(number)));
            seen.add(&name(number));
            assert!(seen.has(&name(number / 2)), "{number}");
        }
        assert!(seen.runs.len() < 16, "{}", seen.runs.len());
    }

    #[test]
    fn a_mark_is_set_once() {
        let mut marks = Marks::new(130);
        for place in [0, 63, 64, 129] {
            assert!(!marks.is_set(place));
            assert!(!marks.set(place));
            assert!(marks.set(place) && marks.is_set(place));
        }
        assert!(!marks.is_set(1));
    }
}
