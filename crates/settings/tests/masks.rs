//! `[[mask]]` and the tables that act by themselves: what is taken, and what is refused.

use std::path::Path;

use convault_core::{MaskWith, TableRef};
use convault_settings::{Environment, MaskSettings, Settings};

fn read(deployment: &str, masks: &str) -> Result<Settings, String> {
    let text = format!(
        "[[deployment]]\nname = \"crm\"\nkey = {{ env = \"KEY\" }}\n{deployment}\n[[destination]]\nname = \"shelf\"\ndirectory = \
         \"/srv/vault\"\n{masks}\n"
    );
    let environment = Environment::new([("KEY", "prod:happy-animal-123|hunter2")]);
    Settings::parse(Path::new("/etc/convault/convault.toml"), &text, &environment)
        .map_err(|problems| problems.to_string().replace("/etc/convault/convault.toml", "FILE"))
}

fn mask(lines: &str) -> Result<MaskSettings, String> {
    let settings = read("", &format!("[[mask]]\n{lines}"))?;
    Ok(settings.masks[0].clone())
}

fn with(word: &str) -> Result<MaskWith, String> {
    let lines = format!("deployment = \"crm\"\ntable = \"contacts\"\nfield = \"email\"\nwith = {word}");
    mask(&lines).map(|mask| mask.mask.with)
}

#[test]
fn a_mask_names_a_deployment_a_table_a_field_and_what_takes_its_place() {
    let mask =
        mask("deployment = \"crm\"\ntable = \"mail/letters\"\nfield = \"to.name\"\nwith = \"hash\"").unwrap();
    assert_eq!(mask.deployment.as_str(), "crm");
    assert_eq!(mask.mask.table, TableRef::new("mail", "letters"));
    assert_eq!(mask.mask.field.names().collect::<Vec<_>>(), ["to", "name"]);
    assert_eq!(mask.mask.with, MaskWith::Hash);
    assert_eq!(with("\"email\"").unwrap(), MaskWith::Email);
    assert_eq!(with("\"null\"").unwrap(), MaskWith::Null);
}

#[test]
fn a_fixed_value_keeps_its_type() {
    for (text, json) in [
        ("\"a \\\"b\\\"\"", r#""a \"b\"""#),
        ("7", "7"),
        ("0x10", "16"),
        ("7.0", "7.0"),
        ("1e30", "1e30"),
        ("-0.5", "-0.5"),
        ("true", "true"),
    ] {
        let found = with(&format!("{{ fixed = {text} }}")).unwrap();
        assert_eq!(found, MaskWith::Fixed(json.to_owned()), "{text}");
    }
}

#[test]
fn what_cannot_be_masked_is_refused() {
    let lines = |table: &str, field: &str| {
        mask(&format!("deployment = \"crm\"\ntable = \"{table}\"\nfield = \"{field}\"\nwith = \"null\""))
            .unwrap_err()
    };
    for field in ["_id", "_creationTime", "_id.x"] {
        assert!(lines("contacts", field).contains("expected another field"), "{field}");
    }
    for field in ["", "a..b", "a b"] {
        assert!(lines("contacts", field).contains("expected a field such as"), "{field}");
    }
    for table in ["", "_storage", "mail/_storage", "a b"] {
        assert!(lines(table, "email").contains("expected a table such as"), "{table}");
    }
    for word in ["\"sha\"", "7", "[1]", "{ fixed = [1] }", "{ fixed = inf }", "{ other = 1 }", "{}"] {
        assert!(with(word).is_err(), "{word}");
    }
    let other = "deployment = \"shop\"\ntable = \"contacts\"\nfield = \"email\"\nwith = \"null\"";
    assert!(mask(other).unwrap_err().contains("mask[0].deployment"));
}

#[test]
fn automations_are_tables_of_the_deployment() {
    let settings = read("automations = [\"outbox\", \"webhooks/deliveries\"]", "").unwrap();
    let expected = [TableRef::new("", "outbox"), TableRef::new("webhooks", "deliveries")];
    assert_eq!(settings.deployments[0].automations, expected);
    assert!(read("automations = [\"_scheduled_functions\"]", "").is_err());
    assert!(read("automations = \"outbox\"", "").is_err());
}
