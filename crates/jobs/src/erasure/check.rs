//! Checks a certificate: that it is as it was written, that its ledger is the one there is, and that what it says to be
//! gone is not found.

use std::collections::BTreeMap;

use convault_core::{CertifiedCopy, CopyState, DestinationName, ErasureCertificate, SnapshotId};

use crate::{
    Destination, JobError, RunContext, Survey, Trust,
    content::{Content, Rules},
    erasure::{
        certify::PURPOSE,
        ledger::{Ledger, LedgerKeys, read_ledger},
        search::{ErasureLimits, search_erased},
    },
    survey::survey,
};

/// A copy that a certificate names, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedCopy {
    /// It was looked through again, and nothing of what was to be erased is in it.
    Clean,
    /// It is not there any more.
    Gone,
    /// The certificate says that it holds erased data.
    HeldBack,
}

/// A certificate that holds.
#[derive(Debug, Clone)]
pub struct CertificateCheck {
    /// The certificate.
    pub certificate: ErasureCertificate,
    /// Whether a trusted key has signed it. Where no keys are trusted, its keyed hash alone vouches for it.
    pub signed: bool,
    /// The copies that it names, in its order.
    pub copies: Vec<(DestinationName, SnapshotId, CheckedCopy)>,
    /// Entries that the ledger has beside those of the certificate.
    pub newer_entries: u64,
}

/// Checks a certificate, with the signature that lies beside it, against what is stored in `destinations`. Whatever does
/// not hold is [`JobError::CertificateFails`], and a ledger that is not whole [`JobError::LedgerNotWhole`].
pub async fn check_certificate(
    json: &[u8],
    signature: Option<&[u8]>,
    destinations: &[Destination],
    trust: &Trust,
    keys: &LedgerKeys,
    limits: ErasureLimits,
    context: &RunContext,
) -> Result<CertificateCheck, JobError> {
    let signed = match signature {
        Some(signature) if trust.vouches(json, signature) => true,
        _ if trust.is_required() => return Err(fails("nobody trusted has signed it as it is")),
        _ => false,
    };
    let names = keys.names.as_ref().ok_or(JobError::NoNamesKey)?;
    let certificate = ErasureCertificate::parse(json, |bytes| names.hash(PURPOSE, &[bytes]));
    let certificate = certificate
        .ok_or_else(|| fails("it was changed since it was written, or was made under another names key"))?;
    let checking = Checking { certificate: &certificate, destinations, keys, limits, context };
    let (copies, newer_entries) = checking.copies().await?;
    Ok(CertificateCheck { certificate, signed, copies, newer_entries })
}

fn fails(what: impl Into<String>) -> JobError {
    JobError::CertificateFails { what: what.into() }
}

struct Checking<'a> {
    certificate: &'a ErasureCertificate,
    destinations: &'a [Destination],
    keys: &'a LedgerKeys,
    limits: ErasureLimits,
    context: &'a RunContext,
}

type Checked = Vec<(DestinationName, SnapshotId, CheckedCopy)>;

impl Checking<'_> {
    async fn copies(&self) -> Result<(Checked, u64), JobError> {
        let mut known: BTreeMap<DestinationName, (&Destination, Survey, Ledger)> = BTreeMap::new();
        let (mut copies, mut newer) = (Vec::new(), 0);
        for copy in &self.certificate.copies {
            if !known.contains_key(&copy.destination) {
                let looked = self.look_at(&copy.destination).await?;
                newer = newer.max(looked.2.newest() - self.certificate.ledger.len() as u64);
                known.insert(copy.destination.clone(), looked);
            }
            let (destination, survey, ledger) = &known[&copy.destination];
            let checked = self.copy(copy, destination, survey, ledger).await?;
            copies.push((copy.destination.clone(), copy.snapshot.clone(), checked));
        }
        Ok((copies, newer))
    }

    async fn look_at(&self, name: &DestinationName) -> Result<(&Destination, Survey, Ledger), JobError> {
        let destination = self.destinations.iter().find(|one| one.store.destination() == name);
        let destination =
            destination.ok_or_else(|| fails(format!("the settings have no destination {name}")))?;
        let (deployment, context) = (&self.certificate.deployment, self.context);
        let survey = survey(destination, deployment, &[], context.clock.now()).await?;
        let ledger = read_ledger(deployment, destination, self.destinations, self.keys, context).await?;
        let told = &self.certificate.ledger;
        if ledger.records().len() < told.len() {
            return Err(fails(format!("the ledger in {name} has fewer entries than it names")));
        }
        let differs = |(one, told): &(&convault_core::LedgerEntry, &convault_core::CertifiedEntry)| {
            one.sha256 != told.sha256 || one.entry.number != told.number
        };
        if let Some((_, told)) = ledger.records().iter().zip(told).find(differs) {
            return Err(fails(format!(
                "entry {} of the ledger in {name} is not the one it names",
                told.number
            )));
        }
        Ok((destination, survey, ledger))
    }

    async fn copy(
        &self,
        copy: &CertifiedCopy,
        destination: &Destination,
        survey: &Survey,
        ledger: &Ledger,
    ) -> Result<CheckedCopy, JobError> {
        let place = || format!("{} in {}", copy.snapshot, copy.destination);
        let Some(folder) = survey.folder(&copy.snapshot) else { return Ok(CheckedCopy::Gone) };
        if copy.state == CopyState::HeldBack {
            return Ok(CheckedCopy::HeldBack);
        }
        let snapshot =
            folder.snapshot().ok_or_else(|| fails(format!("{} is {}", place(), folder.state.as_str())))?;
        if snapshot.manifest_sha256 != copy.manifest_sha256 {
            return Err(fails(format!("the manifest of {} is another one", place())));
        }
        // What was erased later is no part of what it says.
        let then = ledger.up_to(self.certificate.ledger.len());
        let rules = Rules::default();
        let store = destination.store.as_ref();
        let identities = self.keys.identities.as_ref();
        let stored = Content::new(store, &snapshot.manifest, identities, &rules, self.context);
        let found = search_erased(&stored, &then, self.limits).await?;
        match found.total() {
            0 => Ok(CheckedCopy::Clean),
            number => Err(fails(format!("{number} erased document(s) or file(s) were found in {}", place()))),
        }
    }
}
