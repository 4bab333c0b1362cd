//! A text put into everything that surrounds the data, so that whoever looks for it later can tell where it went.

use serde_json::json;

use crate::database::Database;
use crate::deployed::Module;
use crate::value::Value;

/// When what is planted is due: far from now, in nanoseconds since the Unix epoch.
const DUE_NS: i64 = 4_000_000_000_000_000_000;

impl Database {
    /// Puts `text` into environment variables (one of one line, one of several), the arguments of scheduled functions
    /// (of the root, of a component, and large ones kept apart) and of a cron, a module with its source map, a schema,
    /// and an authentication provider.
    pub fn plant(&mut self, text: &str, now_ms: f64) {
        self.set_environment_variable("PLANTED", Some(text.to_owned()), now_ms);
        let key = format!("-----BEGIN KEY-----\n{text} \"quoted\" $HOME\n-----END KEY-----\n");
        self.set_environment_variable("PLANTED_KEY", Some(key), now_ms);
        let arguments = json!([{ "text": text, "number": 1.0 }]).to_string();
        self.schedule("", "messages.js:send", &arguments, false, DUE_NS, now_ms);
        self.schedule("", "messages.js:sendLarge", &arguments, true, DUE_NS + 1, now_ms);
        self.schedule("mailer", "queue.js:run", &arguments, false, DUE_NS, now_ms);
        let hourly = Value::object([("type", "interval".into()), ("seconds", Value::Int64(3600))]);
        self.add_cron("", "sweep", "messages.js:sweep", &arguments, hourly, now_ms);
        self.auth_providers = vec![("https://login.example.com".to_owned(), text.to_owned())];
        let deployed = self.deployed_mut("", now_ms);
        deployed.schema = Some(json!({ "tables": [], "note": text, "schemaValidation": true }).to_string());
        deployed.modules = vec![Module {
            path: "messages.js".to_owned(),
            source: format!("export const planted = {};\n", json!(text)),
            source_map: Some(json!({ "version": 3, "sourcesContent": [text] }).to_string()),
            environment: "isolate".to_owned(),
        }];
    }
}
