//! `convault keygen signing`: a key that signs manifests, marks and proofs.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use convault_archive::signature::SigningKey;
use serde_json::json;

use super::Surroundings;
use crate::{arguments::Keygen, exit::Exit, print};

pub(crate) fn keygen(surroundings: &Surroundings, kind: Keygen) -> anyhow::Result<Exit> {
    let Keygen::Signing { output } = kind;
    let (key, secret) = SigningKey::generate();
    write_new(&output, secret.expose())?;
    let public = key.public();
    if surroundings.json {
        let file = std::path::absolute(&output)?;
        print::json(
            &json!({ "file": file, "public_key": public.to_string(), "key_id": public.id().to_string() }),
        );
        return Ok(Exit::Done);
    }
    print::line(&public.to_string());
    print::note(&format!(
        "\nThe secret key is in {file}, without a password: hand it to the daemon as a credential, and keep it \
         nowhere else.\nAdd to the settings:\n\n[signing]\nkey = {{ file = \"{file}\" }}\n\nThe line above is the \
         public key. Keep it on paper, and on machines other than this one: whoever checks or restores snapshots \
         there trusts it by\n\n[signing]\ntrusted_keys = [\"{public}\"]\n\nand stock minisign by `minisign -V -P \
         {public} -m manifest.json`. A bucket or a host that was broken into cannot tell you which key was yours.",
        file = std::path::absolute(&output)?.display(),
    ));
    Ok(Exit::Done)
}

/// Writes a file that only its owner may read, and that was not there.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}; a key is never overwritten", path.display()))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}
