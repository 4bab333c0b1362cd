//! `convault check`: are the settings right, and what do they come to?

use super::Surroundings;
use crate::{exit::Exit, print};

pub(crate) fn check(surroundings: &Surroundings) -> anyhow::Result<Exit> {
    let settings = match surroundings.settings() {
        Ok(settings) => settings,
        Err(error) => {
            if let Some(problems) = error.downcast_ref::<convault_settings::SettingsProblems>()
                && surroundings.json
            {
                print::json(&serde_json::json!({ "problems": problems.0 }));
                return Ok(Exit::Settings);
            }
            return Err(error);
        }
    };
    // What only shows when a key is used, such as a slip of the pen in a recipient.
    crate::wiring::destinations(&settings)?;
    crate::wiring::identities(&settings, None)?;
    if surroundings.json {
        print::json(
            &serde_json::json!({ "effective": settings.effective(), "warnings": settings.warnings() }),
        );
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = settings
        .effective()
        .iter()
        .map(|value| vec![value.key.clone(), value.value.clone(), value.origin.to_string()])
        .collect();
    print::table(&["KEY", "VALUE", "FROM"], &rows);
    for warning in settings.warnings() {
        print::note(&format!("warning: {warning}"));
    }
    print::line(&format!("{}: in order", settings.file().display()));
    Ok(Exit::Done)
}
