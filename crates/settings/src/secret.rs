//! Secrets: read from a systemd credential, a file or a variable of the environment, never from the settings
//! themselves. What was found is never shown.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use convault_core::Secret;

use crate::{
    effective::{Origin, REDACTED},
    keys::Form,
    reading::{Reading, Refusal, quoted},
    section::Section,
};

/// A secret is a key, a password or a token: a file larger than this is something else.
const LARGEST_SECRET_BYTES: u64 = 64 << 10;
/// Read or write for the group or for others.
const OPEN_TO_OTHERS: u32 = 0o066;
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// How a secret is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One line, whose line end is not part of it.
    Line,
    /// The content of a key file, comments and line ends included.
    Lines,
}

/// The secret that `name` points at: one line.
pub(crate) fn read_secret(section: &Section<'_>, reading: &mut Reading<'_>, name: &str) -> Option<Secret> {
    read_laid_out(section, reading, name, Layout::Line)
}

/// The secret that `name` points at: the content of a key file, of one or several lines.
pub(crate) fn read_key_file(section: &Section<'_>, reading: &mut Reading<'_>, name: &str) -> Option<Secret> {
    read_laid_out(section, reading, name, Layout::Lines)
}

fn read_laid_out(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    name: &str,
    layout: Layout,
) -> Option<Secret> {
    let table = section.secret_table(reading, name)?;
    let given: Vec<&str> = ["credential", "file", "env"].into_iter().filter(|way| table.has(way)).collect();
    let way = match given.as_slice() {
        [way] => *way,
        [] => {
            reading.problem(table.place(), table.path(), "none of them", Form::Secret.expected());
            return None;
        }
        several => {
            let found = several.iter().map(|way| format!("`{way}`")).collect::<Vec<_>>().join(" and ");
            reading.problem(table.place(), table.path(), found, "exactly one of them");
            return None;
        }
    };
    let (secret, origin) = table.given(reading, way, |reading, text, place| match way {
        "credential" => of_credential(reading, text, layout),
        "file" => of_file(reading, text, place, layout),
        _ => of_variable(reading, text, layout),
    })?;
    reading.holds(table.path(), REDACTED, origin);
    Some(secret)
}

/// The secret in the variable `variable`, if it is there; for keys that have a variable as their default.
pub(crate) fn default_variable(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    name: &str,
    variable: &str,
) -> Option<Secret> {
    let key = section.key_path(name);
    reading.environment.get(variable)?;
    match of_variable(reading, variable, Layout::Line) {
        Ok((secret, origin)) => {
            reading.holds(&key, REDACTED, origin);
            Some(secret)
        }
        Err(refusal) => {
            reading.refuse(section.place(), &key, refusal, "");
            None
        }
    }
}

type Found = Result<(Secret, Origin), Refusal>;

fn of_variable(reading: &mut Reading<'_>, variable: &str, layout: Layout) -> Found {
    if !is_variable_name(variable) {
        return Err(Refusal::unshown(
            "something that is no variable's name (not shown: it may be the secret itself)",
            "the name of a variable of the environment, such as CRM_DEPLOY_KEY",
        ));
    }
    reading.named_variables.insert(variable.to_owned());
    let Some(value) = reading.environment.get(variable) else {
        // A secret put here by mistake may well be letters and digits only, but rarely capitals only.
        let shown = if variable.chars().any(|c| c.is_ascii_lowercase()) { "of that name" } else { variable };
        return Err(Refusal::unshown(
            format!("no variable {shown} in the environment"),
            "the name of a variable that holds the secret",
        ));
    };
    let secret = checked(value.to_str().map(str::to_owned), &format!("${variable}"), layout)?;
    Ok((secret, Origin::Environment { variable: variable.to_owned() }))
}

fn of_credential(reading: &Reading<'_>, name: &str, layout: Layout) -> Found {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 255 || !name.chars().all(plain) {
        return Err(Refusal::unshown(
            "something that is no credential's name (not shown: it may be the secret itself)",
            "the name of a credential, such as crm-deploy-key",
        ));
    }
    let Some(folder) = reading.environment.get(CREDENTIALS_DIRECTORY).filter(|folder| !folder.is_empty())
    else {
        return Err(Refusal::unshown(
            format!("credential {} but no ${CREDENTIALS_DIRECTORY}", quoted(name)),
            format!(
                "to be started by systemd with `LoadCredential={name}:/path/to/it` (by hand: \
                 `systemd-run --pipe --property=LoadCredential=…`)"
            ),
        ));
    };
    // Its mode is systemd's affair: an access list for the service's user shows as a group that may read.
    let path = Path::new(folder).join(name);
    let text = read_bounded(&path).map_err(|error| {
        Refusal::unshown(
            format!("no credential {} ({error})", quoted(name)),
            format!("the unit to say `LoadCredential={name}:/path/to/it`"),
        )
    })?;
    Ok((
        checked(text, &format!("credential {}", quoted(name)), layout)?,
        Origin::Credential { name: name.to_owned() },
    ))
}

fn of_file(reading: &Reading<'_>, text: &str, place: &Origin, layout: Layout) -> Found {
    if text.is_empty() || text.contains(['|', '\0', '\n']) || text.starts_with('~') {
        return Err(Refusal::unshown(
            "something that is no path (not shown: it may be the secret itself)",
            "the path of a file that holds the secret, without `~`",
        ));
    }
    let path = reading.resolve(text, place);
    let shown = format!("`{}`", path.display());
    let unreadable = |error: &io::Error| {
        Refusal::unshown(format!("{shown} ({error})"), "a file that this user can read and nobody else")
    };
    // Looked at before it is opened, since opening a pipe would wait for whoever writes to it.
    let metadata = fs::metadata(&path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(Refusal::unshown(
            format!("{shown}, which is not a file"),
            "a file that holds the secret",
        ));
    }
    check_guarded(&metadata, &path)?;
    let content = read_bounded(&path).map_err(|error| unreadable(&error))?;
    Ok((checked(content, &shown, layout)?, Origin::SecretFile { path }))
}

/// Follows symbolic links, as Docker and Kubernetes hand out secrets: what counts is the file they lead to.
fn check_guarded(metadata: &fs::Metadata, path: &Path) -> Result<(), Refusal> {
    let mode = metadata.mode() & 0o777;
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(Refusal::unshown(
            format!("`{}` with mode {mode:04o}, which lets others read or write the secret", path.display()),
            format!("mode 0600 or 0400: run `chmod 600 {}`", path.display()),
        ));
    }
    let owner = metadata.uid();
    let me = rustix::process::geteuid().as_raw();
    if owner != 0 && owner != me {
        return Err(Refusal::unshown(
            format!("`{}`, owned by user {owner}", path.display()),
            format!("a file owned by root or by this user ({me})"),
        ));
    }
    Ok(())
}

/// The text of a file; `None` where it is not UTF-8 or is larger than a secret can be.
fn read_bounded(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = vec![];
    fs::File::open(path)?.take(LARGEST_SECRET_BYTES + 1).read_to_end(&mut bytes)?;
    let small = bytes.len() as u64 <= LARGEST_SECRET_BYTES;
    Ok(String::from_utf8(bytes).ok().filter(|_| small))
}

/// Takes the text of `holder` as a secret.
fn checked(text: Option<String>, holder: &str, layout: Layout) -> Result<Secret, Refusal> {
    let expected = match layout {
        Layout::Line => "one line of text, without spaces around it",
        Layout::Lines => "the text of a key file",
    };
    let refusal = |what: &str| Refusal::unshown(format!("{holder}, {what}"), expected);
    let text = text.ok_or_else(|| refusal("which is not UTF-8 or is far too long for a secret"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refusal("which is empty"));
    }
    if layout == Layout::Lines {
        let unprintable = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if line.contains(unprintable) {
            return Err(refusal("which has control characters in it"));
        }
        return Ok(Secret::new(text));
    }
    if line.contains(['\n', '\r']) {
        return Err(refusal("which has several lines"));
    }
    if line.trim() != line || line.contains(char::is_control) {
        return Err(refusal("which has spaces around the secret or control characters in it"));
    }
    Ok(Secret::new(line))
}

fn is_variable_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && name.len() <= 128
        && name.chars().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}
