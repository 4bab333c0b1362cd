//! Whom destinations are encrypted to, and the secrets that go with it.

use std::path::Path;

use convault_settings::{Environment, Settings};

const ANNA: &str = "age1anna";
const BORIS: &str = "ssh-ed25519 AAAAC3 boris@laptop";
const NAMES_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn settings(encryption: &str, first: &str, second: &str, job: &str) -> String {
    format!(
        r#"
{encryption}

[[deployment]]
name = "crm"
url = "https://happy-animal-123.convex.cloud"
key = {{ env = "CRM_KEY" }}

[[destination]]
name = "shelf"
directory = "/srv/one"
{first}

[[destination]]
name = "attic"
directory = "/srv/two"
{second}

[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["shelf", "attic"]
{job}
"#
    )
}

fn parse(text: &str) -> Result<Settings, String> {
    let environment =
        Environment::new([("CRM_KEY", "prod:a|b"), ("NAMES", NAMES_KEY), ("IDENTITY", "AGE-SECRET-KEY-1\n")]);
    Settings::parse(Path::new("/etc/convault.toml"), text, &environment)
        .map_err(|problems| problems.to_string())
}

fn to(recipients: &[&str]) -> String {
    format!("encrypt_to = {recipients:?}")
}

const WITH_KEY: &str = "[encryption]\nnames_key = { env = \"NAMES\" }";

#[test]
fn recipients_and_the_secrets_beside_them_are_read() {
    let both = format!("{WITH_KEY}\nidentity = {{ env = \"IDENTITY\" }}");
    let settings = parse(&settings(&both, &to(&[ANNA, BORIS]), "", "")).unwrap();
    assert_eq!(settings.destinations[0].encrypt_to.as_deref().unwrap(), [ANNA, BORIS]);
    assert_eq!(settings.destinations[1].encrypt_to, None);
    let encryption = settings.encryption.as_ref().unwrap();
    assert_eq!(encryption.names_key.as_ref().unwrap().expose(), NAMES_KEY);
    assert!(encryption.identity.is_some());
    let shown = format!("{settings:?} {:?}", settings.effective());
    assert!(!shown.contains(NAMES_KEY) && !shown.contains("AGE-SECRET"), "{shown}");
    assert!(shown.contains(ANNA), "recipients are no secret: {shown}");
    assert_eq!(settings.warnings(), []);
}

#[test]
fn encryption_needs_a_names_key_and_a_single_recipient_is_warned_of() {
    let said = parse(&settings("", &to(&[ANNA, BORIS]), "", "")).unwrap_err();
    assert!(said.contains("destination.shelf.encrypt_to: found no names key"), "{said}");
    let without = "[encryption]\nidentity = { env = \"IDENTITY\" }";
    assert!(parse(&settings(without, &to(&[ANNA, BORIS]), "", "")).unwrap_err().contains("no names key"));
    assert!(parse(&settings(without, "", "", "")).is_ok(), "a machine that only reads");
    let settings = parse(&settings(WITH_KEY, &to(&[ANNA]), "", "")).unwrap();
    assert!(settings.warnings()[0].text.contains("there is one recipient"), "{:?}", settings.warnings());
}

#[test]
fn a_secret_key_in_the_place_of_a_public_one_is_refused_and_never_shown() {
    for secret in [
        "AGE-SECRET-KEY-1HUNTER2",
        "age-secret-key-1hunter2",
        "-----BEGIN OPENSSH PRIVATE KEY-----hunter2",
        "b3BlbnNzaC1rZXktdjEAAAAhunter2",
    ] {
        let said = parse(&settings(WITH_KEY, &to(&[secret]), "", "")).unwrap_err();
        assert!(said.contains("destination.shelf.encrypt_to[0]: found a secret key (not shown)"), "{said}");
        assert!(said.contains("convault.toml:13:"), "it says where: {said}");
        assert!(!said.to_lowercase().contains("hunter2"), "{said}");
    }
    for (line, why) in [
        ("encrypt_to = []", "an empty list"),
        ("encrypt_to = \"age1a\"", "a string"),
        ("encrypt_to = [\"anna\"]", "no public key"),
        ("encrypt_to = [\"age1a\", \"age1a\"]", "age1a"),
    ] {
        let said = parse(&settings(WITH_KEY, line, "", "")).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let said = parse(&settings("[encryption]\nnames_key = { env = \"CRM_KEY\" }", "", "", "")).unwrap_err();
    assert!(said.contains("64 hexadecimal digits") && !said.contains("prod:"), "{said}");
    let said = parse(&settings("[encryption]", "", "", "")).unwrap_err();
    assert!(said.contains("`names_key`, `identity`, or both"), "{said}");
}

#[test]
fn surroundings_are_only_stored_where_everything_is_encrypted() {
    let job = "surroundings = [\"environment\"]";
    let both = to(&[ANNA, BORIS]);
    assert!(parse(&settings(WITH_KEY, &both, &both, job)).is_ok());
    let said = parse(&settings(WITH_KEY, &both, "", job)).unwrap_err();
    assert!(said.contains("destination attic, which is not encrypted"), "{said}");
}

#[test]
fn each_set_of_recipients_needs_memory_of_its_own() {
    let job = "";
    let small = "[daemon]\nupload_memory = \"20MiB\"";
    let key = format!("{small}\n\n{WITH_KEY}");
    let [anna, both, other_order] =
        [to(&[ANNA]), to(&[ANNA, BORIS]), to(&["ssh-ed25519 AAAAC3 boris@desk", ANNA])];
    assert!(parse(&settings(&key, &both, &other_order, job)).is_ok(), "one set, written in two ways");
    for second in ["", anna.as_str()] {
        let said = parse(&settings(&key, &both, second, job)).unwrap_err();
        assert!(said.contains("40MiB or more") && said.contains("2 different sets"), "{said}");
    }
}
