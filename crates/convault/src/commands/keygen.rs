//! `convault keygen`: keys that sign, open, and hash names.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use convault_archive::{NamesKey, encryption::generate, signature::SigningKey};
use serde_json::json;

use super::Surroundings;
use crate::{
    arguments::Keygen,
    exit::{Exit, ExitWith},
    print,
};

pub(crate) fn keygen(surroundings: &Surroundings, kind: Keygen) -> anyhow::Result<Exit> {
    match kind {
        Keygen::Signing { output } => signing(surroundings, &output),
        Keygen::Encryption { output } => encryption(surroundings, output.as_deref()),
        Keygen::Names { output } => names(surroundings, output.as_deref()),
    }
}

fn signing(surroundings: &Surroundings, output: &Path) -> anyhow::Result<Exit> {
    let (key, secret) = SigningKey::generate();
    write_new(output, secret.expose())?;
    let public = key.public();
    if surroundings.json {
        let file = std::path::absolute(output)?;
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
        file = std::path::absolute(output)?.display(),
    ));
    Ok(Exit::Done)
}

fn encryption(surroundings: &Surroundings, output: Option<&Path>) -> anyhow::Result<Exit> {
    let (public, identity) = generate();
    let Some(output) = output else {
        if surroundings.json {
            let text = "with --json, say where the identity goes: -o FILE";
            return Err(ExitWith(Exit::Failed, text.to_owned()).into());
        }
        print::line(identity.expose().trim_end());
        print::note(&advice(&public, "What was printed"));
        return Ok(Exit::Done);
    };
    write_new(output, identity.expose())?;
    let file = std::path::absolute(output)?;
    if surroundings.json {
        print::json(&json!({ "file": file, "public_key": public }));
        return Ok(Exit::Done);
    }
    print::line(&public);
    print::note(&advice(&public, &file.display().to_string()));
    Ok(Exit::Done)
}

fn advice(public: &str, identity: &str) -> String {
    format!(
        "\n{identity} is the identity: it opens every backup that is encrypted to it, without a password, and nothing \
         else does. If it is lost, so are they.\n\nKeep it away from here:\n\
         - Print it, or write down the line AGE-SECRET-KEY-1… by hand (74 characters; a slip of the pen is noticed when it \
         is read), and keep the paper where the machine is not: a safe, a bank.\n\
         - Keep a second copy in another place, or make a second pair for somebody else and name both as recipients: each \
         opens everything alone.\n\
         - Then delete it from this machine. One that makes backups needs only the public half.\n\
         - Try it, once now and once a year: `convault doctor --identity FILE` opens the newest backup with it.\n\n\
         Add the public half to the settings:\n\n[[destination]]\nencrypt_to = [\"{public}\"]\n\n[encryption]\n\
         names_key = {{ file = \"…\" }}   # convault keygen names -o FILE"
    )
}

fn names(surroundings: &Surroundings, output: Option<&Path>) -> anyhow::Result<Exit> {
    let key = NamesKey::generate();
    match output {
        Some(output) => write_new(output, &format!("{}\n", key.secret().expose()))?,
        None if surroundings.json => {
            let text = "with --json, say where the names key goes: -o FILE";
            return Err(ExitWith(Exit::Failed, text.to_owned()).into());
        }
        None => print::line(key.secret().expose()),
    }
    if surroundings.json {
        let file = output.map(std::path::absolute).transpose()?;
        print::json(&json!({ "file": file, "key_id": key.id() }));
        return Ok(Exit::Done);
    }
    print::note(
        "\nThis is the names key: hand it to each machine that makes backups to the same destinations, as a credential, \
         and keep a copy. It opens no backup; with another one, new backups are not compared table by table with older \
         ones. Each destination has it as well, encrypted to its recipients.\n\n\
         [encryption]\nnames_key = { file = \"…\" }",
    );
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
