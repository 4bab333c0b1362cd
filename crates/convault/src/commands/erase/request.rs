//! `convault erase --table …`: adds an entry to the ledger, or shows what it would do.

use std::io::Read as _;

use anyhow::Context as _;
use convault_core::{Cascade, Clock as _, SystemClock};
use convault_jobs::{
    Content, Destination, Rules, Snapshot,
    erasure::{Added, ErasureRequest, Found, Ledger, add_erasure, read_ledger, search_erased},
};
use serde_json::{Value, json};

use super::{Bench, behind_value, holding, tell_behind, wanted};
use crate::{
    arguments::{Erase, parse_value},
    commands::erasures,
    exit::{Exit, ExitWith},
    print,
    worker::VERSION,
};

/// A list of people longer than this is something else.
const LARGEST_LIST_BYTES: u64 = 16 << 20;

/// What was found in the newest snapshot of a destination.
type Look = (Destination, Snapshot, Found);

pub(super) async fn request(bench: &Bench<'_>, wish: &Erase) -> anyhow::Result<Exit> {
    let request = read(bench, wish)?;
    if wish.dry_run {
        return dry_run(bench, &request).await;
    }
    let context = bench.context();
    let added = add_erasure(&request, &bench.destinations, &wanted(bench), &bench.keys, &context).await?;
    let alone = added.ledger.newest_alone();
    let looks = look(bench, |_| Ok(alone.clone())).await;
    bench.progress.clear();
    tell(bench, &added, &looks);
    Ok(if added.behind.is_empty() { Exit::Done } else { Exit::Partial })
}

fn read(bench: &Bench<'_>, wish: &Erase) -> anyhow::Result<ErasureRequest> {
    let (mut ids, mut values) = (wish.ids.clone(), wish.fields.clone());
    if let Some(file) = &wish.from {
        let mut text = String::new();
        // One byte more, to see that there is more: nobody on a list may be passed over.
        let most = LARGEST_LIST_BYTES + 1;
        let read = if file.as_os_str() == "-" {
            std::io::stdin().take(most).read_to_string(&mut text)
        } else {
            std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
        };
        let read = read.with_context(|| format!("cannot read {}", file.display()))?;
        if read as u64 == most {
            let text = format!("{} has more than 16 MiB: make several lists of it", file.display());
            return Err(ExitWith(Exit::Arguments, text).into());
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line.contains('=') {
                values.push(parse_value(line).map_err(|why| {
                    ExitWith(Exit::Arguments, format!("{}: a line is no NAME=VALUE: {why}", file.display()))
                })?);
            } else {
                ids.push(line.to_owned());
            }
        }
    }
    let table = wish.table.clone().filter(|_| !(ids.is_empty() && values.is_empty())).ok_or_else(|| {
        ExitWith(Exit::Arguments, "say who is meant: --id, --field NAME=VALUE, or --from FILE".to_owned())
    })?;
    let deployment = bench.settings.deployment(&bench.deployment);
    let named = deployment.map(|deployment| deployment.cascades.clone()).unwrap_or_default();
    let cascades: Vec<Cascade> = named.into_iter().chain(wish.cascades.iter().cloned()).collect();
    Ok(ErasureRequest {
        deployment: bench.deployment.clone(),
        table,
        ids,
        values,
        cascades,
        reason: wish.reason.clone().unwrap_or_default(),
        version: VERSION.to_owned(),
    })
}

async fn dry_run(bench: &Bench<'_>, request: &ErasureRequest) -> anyhow::Result<Exit> {
    let context = bench.context();
    let holding = holding(bench).await;
    let ledger = match holding.first() {
        Some(first) => {
            read_ledger(&bench.deployment, first, &bench.destinations, &bench.keys, &context).await?
        }
        None => Ledger::empty(bench.deployment.clone()),
    };
    let preview = request.preview(&ledger, &bench.keys, &context)?.newest_alone();
    let looks = look(bench, |_| Ok(preview.clone())).await;
    bench.progress.clear();
    if bench.surroundings.json {
        print::json(&json!({ "dry_run": true, "found": looks.iter().map(value).collect::<Vec<_>>() }));
    } else {
        tell_looks(&looks);
        print::line("nothing was written: this was a dry run");
    }
    Ok(Exit::Done)
}

/// Looks through the newest good snapshot of each destination.
async fn look(bench: &Bench<'_>, ledger: impl Fn(&Destination) -> anyhow::Result<Ledger>) -> Vec<Look> {
    let mut looks = Vec::new();
    for destination in &bench.destinations {
        let looked = async {
            let now = SystemClock.now();
            let newest = convault_jobs::find(destination, &bench.deployment, None, now).await?;
            let Some(snapshot) = newest else { return Ok(None) };
            let context = bench.context();
            let rules = Rules::default();
            let store = destination.store.as_ref();
            let identities = bench.keys.identities.as_ref();
            let stored = Content::new(store, &snapshot.manifest, identities, &rules, &context);
            let limits = erasures::limits(bench.settings);
            let found = search_erased(&stored, &ledger(destination)?, limits).await?;
            Ok::<_, anyhow::Error>(Some((snapshot, found)))
        };
        match looked.await {
            Ok(Some((snapshot, found))) => looks.push((destination.clone(), snapshot, found)),
            Ok(None) => {}
            Err(error) => {
                print::note(&format!("{}: cannot look: {error:#}", destination.store.destination()));
            }
        }
    }
    looks
}

fn tell(bench: &Bench<'_>, added: &Added, looks: &[Look]) {
    let number = added.ledger.newest();
    if bench.surroundings.json {
        print::json(&json!({
            "deployment": bench.deployment,
            "number": number,
            "sha256": added.ledger.head(),
            "written": added.written,
            "behind": behind_value(&added.behind),
            "found": looks.iter().map(value).collect::<Vec<_>>(),
        }));
        tell_behind(&added.behind);
        return;
    }
    let names: Vec<&str> = added.written.iter().map(convault_core::DestinationName::as_str).collect();
    print::line(&format!(
        "entry {number} of the erasure ledger of {} is written to {}",
        bench.deployment,
        names.join(", ")
    ));
    tell_looks(looks);
    tell_behind(&added.behind);
    print::line(
        "from now on it is held back whenever content is read; `convault erase --rewrite` removes it from what is stored",
    );
}

fn tell_looks(looks: &[Look]) {
    for (destination, snapshot, found) in looks {
        let what = erasures::told(found).unwrap_or_else(|| {
            "nothing at all; if that is not expected, compare table, id and field with what is there"
                .to_owned()
        });
        let (name, id) = (destination.store.destination(), &snapshot.manifest.id);
        print::line(&format!("in the newest snapshot of {name}, {id}: {what}"));
        for (table, count) in &found.documents {
            print::line(&format!("  {table}: {count}"));
        }
        for (component, count) in &found.files {
            let of = if component.is_empty() { String::new() } else { format!(" of {component}") };
            print::line(&format!("  stored files{of}: {count}"));
        }
    }
}

fn value((destination, snapshot, found): &Look) -> Value {
    let documents: serde_json::Map<String, Value> =
        found.documents.iter().map(|(table, count)| (table.to_string(), json!(count))).collect();
    json!({
        "destination": destination.store.destination(),
        "snapshot": snapshot.manifest.id,
        "documents": documents,
        "files": found.files,
        "passes": found.passes,
    })
}
