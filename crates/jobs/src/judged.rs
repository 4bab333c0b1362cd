//! Judges a new snapshot beside those before it, and says what follows in plain words and in hashed ones.

use convault_archive::NamesKey;
use convault_core::{AnomalyLimits, Manifest, Problem, examine};

use crate::{
    Encryption, contents,
    keyed::{KnownNames, keyed_limits, keyed_manifest},
};

/// What the manifests of a new snapshot share, in every destination of one kind.
#[derive(Debug)]
pub(crate) struct Judged {
    /// For people, and for destinations that are not encrypted.
    pub(crate) plain: Manifest,
    /// For encrypted ones, where there are any.
    keyed: Option<Manifest>,
    /// What is worth saying and does not make it suspect.
    pub(crate) notes: Vec<String>,
}

impl Judged {
    /// For destinations that are encrypted like this.
    pub(crate) fn manifest(&self, encryption: Option<&Encryption>) -> Manifest {
        let Some(encryption) = encryption else { return self.plain.clone() };
        let recipients = encryption.recipients.iter().map(ToString::to_string).collect();
        let keyed = self.keyed.as_ref().expect("there is one where a destination is encrypted");
        Manifest { recipients, ..keyed.clone() }
    }
}

/// Judges `manifest`, which names tables plainly, beside `history`, the newest first. `damage` is what is known to be
/// wrong with it, in plain words and in hashed ones. Where `names` are hashed anywhere, all are compared as hashes:
/// whether names are equal is all that matters.
pub(crate) fn judge(
    manifest: Manifest,
    damage: [Vec<Problem>; 2],
    history: &[&Manifest],
    limits: &AnomalyLimits,
    names: Option<&NamesKey>,
) -> Judged {
    let [damage, hidden_damage] = damage;
    let with = |manifest: Manifest, damage, found| {
        let verdict = contents::with_more(contents::verdict(damage), found);
        Manifest { verdict, ..manifest }
    };
    let Some(names) = names else {
        let found = examine(&manifest, history, limits);
        return Judged { plain: with(manifest, damage, found.problems), keyed: None, notes: found.notes };
    };
    let keyed = keyed_manifest(&manifest, names);
    let before: Vec<Manifest> = history.iter().map(|manifest| keyed_manifest(manifest, names)).collect();
    let before: Vec<&Manifest> = before.iter().collect();
    let found = examine(&keyed, &before, &keyed_limits(limits, names));
    let known = KnownNames::of(history.iter().copied().chain([&manifest]), limits, names);
    let plain_problems = found.problems.iter().map(|problem| known.reveal_in(problem)).collect();
    Judged {
        plain: with(manifest, damage, plain_problems),
        keyed: Some(with(keyed, hidden_damage, found.problems)),
        notes: found.notes.iter().map(|note| known.reveal(note)).collect(),
    }
}
