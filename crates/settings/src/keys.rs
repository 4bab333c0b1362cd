//! Every key there is: its form, whether it must be there, and its default. The readers take names, defaults and
//! the words for what was expected from here, and a test holds `docs/settings.md` to it.

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Name,
    Text,
    Flag,
    Count,
    Duration,
    Size,
    Address,
    Path,
    Url,
    LogLevel,
    Cron,
    TimeZone,
    Names,
    Texts,
    Paths,
    Tags,
    Tiers,
    PublicKeys,
    Recipients,
    OneOf(&'static [&'static str]),
    Secret,
    Table(&'static Keys),
    /// One of several words, or a table.
    WordOr(&'static [&'static str], &'static Keys),
    /// A string, a number, `true` or `false`.
    Plain,
    /// A table of tables, under names that are not ours.
    ByName(&'static Keys),
    Tables(&'static Keys),
}

impl Form {
    /// What to write, as a phrase for a person.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Name => "a name of 1 to 63 characters a-z, 0-9, `-`, `_`, starting with a letter or digit".into(),
            Self::Text => "a string that is not empty".into(),
            Self::Flag => "`true` or `false`".into(),
            Self::Count => "a whole number".into(),
            Self::Duration => "a duration such as \"90s\", \"5m\", \"6h\", \"7d\" or \"1h30m\"".into(),
            Self::Size => "a size such as \"48MiB\" or \"1GiB\"".into(),
            Self::Address => "an IP address and a port such as \"127.0.0.1:9640\" or \"[::1]:9640\"".into(),
            Self::Path => "a path".into(),
            Self::Url => "a URL such as \"https://happy-animal-123.convex.cloud\"".into(),
            Self::LogLevel => "a level (error, warn, info, debug, trace), or several with targets such as \"info,convault_uploader=debug\"".into(),
            Self::Cron => "five cron fields (minute hour day month weekday) such as \"0 3 * * *\", or \"@daily\"".into(),
            Self::TimeZone => "an IANA time zone such as \"Europe/London\" or \"UTC\"".into(),
            Self::Names => "a list of names such as [\"offsite\"]".into(),
            Self::Texts => "a list of strings".into(),
            Self::Paths => "a list of paths, which may have `*`, `?` and `**` in them".into(),
            Self::Tags => "a list of words of 1 to 63 characters a-z, A-Z, 0-9, `-`, `_`, `.`, `=`, `:`, `/`".into(),
            Self::Tiers => "a list of tiers such as [\"weekly\", \"monthly\"]: hourly, daily, weekly, monthly, yearly".into(),
            Self::PublicKeys => "a list of minisign public keys, each the one line beginning `RW` of a .pub file".into(),
            Self::Recipients => "a list of public keys: `age1…`, `ssh-ed25519 …` or `ssh-rsa …` each".into(),
            Self::OneOf(words) => format!("one of {}", quoted_list(words)),
            Self::WordOr(words, keys) => format!("{}, or {}", quoted_list(words), keys.title),
            Self::Plain => "a string, a number, `true` or `false`".into(),
            Self::Secret => "{ credential = \"NAME\" }, { file = \"PATH\" } or { env = \"NAME\" }".into(),
            Self::Table(keys) | Self::ByName(keys) => format!("a table {}", keys.title),
            Self::Tables(keys) => format!("tables {}", keys.title),
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn quoted_list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Whether a key must be there, and what holds where it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    /// As it would be written, strings without their quotes.
    Default(&'static str),
}

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) need: Need,
    /// The variable of the environment that goes before what the file says.
    pub(crate) variable: Option<&'static str>,
}

/// The keys of one table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// How the table is written, such as `[[job]]`.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Keys {
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, form: Form, need: Need) -> Key {
    Key { name, form, need, variable: None }
}

const fn required(name: &'static str, form: Form) -> Key {
    key(name, form, Need::Required)
}

const fn optional(name: &'static str, form: Form) -> Key {
    key(name, form, Need::Optional)
}

const fn default(name: &'static str, form: Form, default: &'static str) -> Key {
    key(name, form, Need::Default(default))
}

const fn overridable(name: &'static str, form: Form, default: &'static str, variable: &'static str) -> Key {
    Key { name, form, need: Need::Default(default), variable: Some(variable) }
}

pub(crate) const LOG_FORMATS: &[&str] = &["auto", "text", "json", "journald"];
pub(crate) const PROFILES: &[&str] = &["aws", "r2", "b2", "minio", "ceph", "garage"];
pub(crate) const NEW_TABLES: &[&str] = &["warn", "suspect", "ignore"];
pub(crate) const LOCK_MODES: &[&str] = &["governance", "compliance"];
pub(crate) const MASKS: &[&str] = &["hash", "email", "null"];
pub(crate) const FILES_MODES: &[&str] = &["inline", "shared", "none"];

/// The path of the settings file; it is the one variable that stands for no key.
pub(crate) const CONFIG_VARIABLE: &str = "CONVAULT_CONFIG";
/// What variables of ours begin with.
pub(crate) const VARIABLE_PREFIX: &str = "CONVAULT_";

pub(crate) static ROOT: Keys = Keys {
    title: "the top level",
    keys: &[
        optional("daemon", Form::Table(&DAEMON)),
        optional("signing", Form::Table(&SIGNING)),
        optional("encryption", Form::Table(&ENCRYPTION)),
        optional("erasure", Form::Table(&ERASURE)),
        optional("deployment", Form::Tables(&DEPLOYMENT)),
        optional("destination", Form::Tables(&DESTINATION)),
        optional("surrounding", Form::Tables(&SURROUNDING)),
        optional("job", Form::Tables(&JOB)),
        optional("mirror", Form::Tables(&MIRROR)),
        optional("mask", Form::Tables(&MASK)),
        optional("drill", Form::Tables(&DRILL)),
    ],
};

pub(crate) static DAEMON: Keys = Keys {
    title: "[daemon]",
    keys: &[
        overridable("listen", Form::Address, "127.0.0.1:9640", "CONVAULT_LISTEN"),
        overridable("state_dir", Form::Path, "/var/lib/convault", "CONVAULT_STATE_DIR"),
        overridable("socket", Form::Path, "/run/convault/convault.sock", "CONVAULT_SOCKET"),
        optional("token", Form::Secret),
        overridable("log", Form::OneOf(LOG_FORMATS), "auto", "CONVAULT_LOG"),
        overridable("log_level", Form::LogLevel, "info", "CONVAULT_LOG_LEVEL"),
        default("upload_memory", Form::Size, "48MiB"),
        default("stall_limit", Form::Duration, "5m"),
        default("runs_at_once", Form::Count, "2"),
        default("stop_grace", Form::Duration, "90s"),
        optional("coordinate_in", Form::Name),
        default("lease", Form::Duration, "3m"),
        default("clock_skew_limit", Form::Duration, "5m"),
    ],
};

pub(crate) static SIGNING: Keys = Keys {
    title: "[signing]",
    keys: &[optional("key", Form::Secret), optional("trusted_keys", Form::PublicKeys)],
};

pub(crate) static ENCRYPTION: Keys = Keys {
    title: "[encryption]",
    keys: &[optional("names_key", Form::Secret), optional("identity", Form::Secret)],
};

pub(crate) static ERASURE: Keys =
    Keys { title: "[erasure]", keys: &[default("max_erased_ids", Form::Count, "100000")] };

pub(crate) static DEPLOYMENT: Keys = Keys {
    title: "[[deployment]]",
    keys: &[
        required("name", Form::Name),
        optional("url", Form::Url),
        required("key", Form::Secret),
        optional("restore_key", Form::Secret),
        optional("ca_file", Form::Path),
        default("expire_exports", Form::Flag, "true"),
        default("export_deadline", Form::Duration, "6h"),
        default("no_progress_limit", Form::Duration, "1h"),
        optional("provision_url", Form::Url),
        default("files_at_once", Form::Count, "8"),
        default("file_rate", Form::Count, "200"),
        optional("automations", Form::Texts),
        optional("cascades", Form::Texts),
        optional("anomaly", Form::Table(&ANOMALY)),
    ],
};

pub(crate) static ANOMALY: Keys = Keys {
    title: "anomaly = { … }",
    keys: &[
        default("down", Form::Count, "30"),
        default("up", Form::Count, "300"),
        default("new_tables", Form::OneOf(NEW_TABLES), "warn"),
        default("allow_empty", Form::Flag, "false"),
        optional("min_documents", Form::Count),
        optional("min_bytes", Form::Size),
        optional("unchanged_for", Form::Duration),
        optional("tables", Form::ByName(&TABLE_LIMITS)),
    ],
};

pub(crate) static TABLE_LIMITS: Keys = Keys {
    title: "tables = { \"NAME\" = { … } }",
    keys: &[
        optional("down", Form::Count),
        optional("up", Form::Count),
        default("ignore", Form::Flag, "false"),
    ],
};

pub(crate) static DESTINATION: Keys = Keys {
    title: "[[destination]]",
    keys: &[
        required("name", Form::Name),
        optional("s3", Form::Table(&S3)),
        optional("directory", Form::Path),
        optional("ca_file", Form::Path),
        optional("encrypt_to", Form::Recipients),
        optional("accept", Form::Tiers),
        default("append_only", Form::Flag, "false"),
        default("orphan_grace", Form::Duration, "7d"),
        optional("verify", Form::Table(&VERIFY)),
    ],
};

pub(crate) static VERIFY: Keys = Keys {
    title: "verify = { … }",
    keys: &[
        required("schedule", Form::Cron),
        default("time_zone", Form::TimeZone, "UTC"),
        default("read_all_within", Form::Duration, "30d"),
    ],
};

pub(crate) static S3: Keys = Keys {
    title: "s3 = { … }",
    keys: &[
        required("bucket", Form::Text),
        optional("region", Form::Text),
        optional("endpoint", Form::Url),
        default("prefix", Form::Text, ""),
        optional("path_style", Form::Flag),
        default("profile", Form::OneOf(PROFILES), "aws"),
        optional("access_key", Form::Secret),
        optional("secret_key", Form::Secret),
        optional("object_lock", Form::OneOf(LOCK_MODES)),
    ],
};

pub(crate) static SURROUNDING: Keys = Keys {
    title: "[[surrounding]]",
    keys: &[
        required("name", Form::Name),
        default("required", Form::Flag, "false"),
        optional("files", Form::Paths),
        optional("command", Form::Texts),
        optional("repository", Form::Table(&REPOSITORY)),
        optional("vercel", Form::Table(&VERCEL)),
        optional("project_defaults", Form::Table(&PROJECT_DEFAULTS)),
        optional("time_out", Form::Duration),
        optional("max_bytes", Form::Size),
    ],
};

pub(crate) static REPOSITORY: Keys = Keys {
    title: "repository = { … }",
    keys: &[optional("path", Form::Path), optional("url", Form::Text), default("ref", Form::Text, "HEAD")],
};

pub(crate) static VERCEL: Keys = Keys {
    title: "vercel = { … }",
    keys: &[
        required("project", Form::Text),
        optional("team", Form::Text),
        required("token", Form::Secret),
        optional("targets", Form::Texts),
        default("url", Form::Url, "https://api.vercel.com"),
    ],
};

pub(crate) static PROJECT_DEFAULTS: Keys = Keys {
    title: "project_defaults = { … }",
    keys: &[
        required("token", Form::Secret),
        optional("project", Form::Count),
        default("url", Form::Url, "https://api.convex.dev"),
    ],
};

pub(crate) static WATCH: Keys = Keys {
    title: "watch = { … }",
    keys: &[required("schedule", Form::Cron), default("time_zone", Form::TimeZone, "UTC")],
};

pub(crate) static JOB: Keys = Keys {
    title: "[[job]]",
    keys: &[
        required("name", Form::Name),
        required("deployment", Form::Name),
        optional("schedule", Form::Cron),
        default("time_zone", Form::TimeZone, "UTC"),
        default("jitter", Form::Duration, "0s"),
        default("files", Form::OneOf(FILES_MODES), "inline"),
        optional("surroundings", Form::Names),
        optional("watch", Form::Table(&WATCH)),
        required("to", Form::Names),
        optional("keep", Form::Table(&KEEP)),
        default("catch_up", Form::Flag, "true"),
        optional("retry", Form::Table(&RETRY)),
        default("time_out", Form::Duration, "12h"),
        optional("tags", Form::Tags),
    ],
};

pub(crate) static KEEP: Keys = Keys {
    title: "keep = { … }",
    keys: &[
        default("last", Form::Count, "0"),
        default("hourly", Form::Count, "0"),
        default("daily", Form::Count, "0"),
        default("weekly", Form::Count, "0"),
        default("monthly", Form::Count, "0"),
        default("yearly", Form::Count, "0"),
        optional("within", Form::Duration),
        default("at_least_verified", Form::Count, "3"),
    ],
};

pub(crate) static RETRY: Keys = Keys {
    title: "retry = { … }",
    keys: &[
        default("attempts", Form::Count, "3"),
        default("first", Form::Duration, "1m"),
        default("max", Form::Duration, "30m"),
    ],
};

pub(crate) static MIRROR: Keys = Keys {
    title: "[[mirror]]",
    keys: &[
        required("name", Form::Name),
        required("from", Form::Table(&MIRROR_FROM)),
        required("to", Form::Name),
        optional("encrypt_to", Form::Recipients),
        optional("schedule", Form::Cron),
        default("time_zone", Form::TimeZone, "UTC"),
        default("brake", Form::Count, "20"),
        default("hold_deletions", Form::Duration, "30d"),
        optional("keep", Form::Table(&KEEP)),
        default("time_out", Form::Duration, "12h"),
    ],
};

pub(crate) static MIRROR_FROM: Keys = Keys {
    title: "from = { … }",
    keys: &[
        optional("s3", Form::Table(&S3)),
        optional("directory", Form::Path),
        optional("ca_file", Form::Path),
    ],
};

pub(crate) static MASK: Keys = Keys {
    title: "[[mask]]",
    keys: &[
        required("deployment", Form::Name),
        required("table", Form::Text),
        required("field", Form::Text),
        required("with", Form::WordOr(MASKS, &MASK_WITH)),
    ],
};

pub(crate) static MASK_WITH: Keys = Keys { title: "with = { … }", keys: &[required("fixed", Form::Plain)] };

pub(crate) static DRILL: Keys = Keys {
    title: "[[drill]]",
    keys: &[
        required("name", Form::Name),
        required("deployment", Form::Name),
        optional("schedule", Form::Cron),
        default("time_zone", Form::TimeZone, "UTC"),
        required("into", Form::Table(&DRILL_INTO)),
        optional("from", Form::Name),
        optional("max_age", Form::Duration),
        default("quiet_automations", Form::Flag, "true"),
        optional("assert", Form::Tables(&DRILL_ASSERT)),
        default("time_out", Form::Duration, "12h"),
    ],
};

pub(crate) static DRILL_INTO: Keys = Keys {
    title: "into = { … }",
    keys: &[
        optional("url", Form::Url),
        optional("key", Form::Secret),
        optional("ca_file", Form::Path),
        optional("platform", Form::Table(&DRILL_PLATFORM)),
        optional("command", Form::Texts),
    ],
};

pub(crate) static DRILL_PLATFORM: Keys = Keys {
    title: "platform = { … }",
    keys: &[
        required("token", Form::Secret),
        required("project", Form::Count),
        default("url", Form::Url, "https://api.convex.dev"),
    ],
};

pub(crate) static DRILL_ASSERT: Keys = Keys {
    title: "assert = [{ … }]",
    keys: &[
        optional("min_documents", Form::Table(&MIN_DOCUMENTS)),
        optional("newest_younger_than", Form::Table(&NEWEST_YOUNGER_THAN)),
        optional("references", Form::Table(&REFERENCES)),
        optional("query", Form::Table(&QUERY)),
        optional("http", Form::Table(&HTTP)),
    ],
};

pub(crate) static MIN_DOCUMENTS: Keys = Keys {
    title: "min_documents = { … }",
    keys: &[required("table", Form::Text), required("documents", Form::Count)],
};

pub(crate) static NEWEST_YOUNGER_THAN: Keys = Keys {
    title: "newest_younger_than = { … }",
    keys: &[required("table", Form::Text), required("age", Form::Duration)],
};

pub(crate) static REFERENCES: Keys = Keys {
    title: "references = { … }",
    keys: &[required("table", Form::Text), required("field", Form::Text), required("to", Form::Text)],
};

pub(crate) static QUERY: Keys = Keys {
    title: "query = { … }",
    keys: &[required("function", Form::Text), default("arguments", Form::Text, "{}")],
};

pub(crate) static HTTP: Keys = Keys {
    title: "http = { … }",
    keys: &[
        required("url", Form::Url),
        default("status", Form::Count, "200"),
        optional("contains", Form::Text),
    ],
};

pub(crate) static SECRET: Keys = Keys {
    title: "a secret",
    keys: &[optional("credential", Form::Text), optional("file", Form::Path), optional("env", Form::Text)],
};

/// Every table, for finding where a misplaced key belongs and for checking the documentation.
pub(crate) static ALL: [&Keys; 32] = [
    &ROOT,
    &DAEMON,
    &SIGNING,
    &ENCRYPTION,
    &ERASURE,
    &DEPLOYMENT,
    &ANOMALY,
    &TABLE_LIMITS,
    &DESTINATION,
    &VERIFY,
    &S3,
    &SURROUNDING,
    &REPOSITORY,
    &VERCEL,
    &PROJECT_DEFAULTS,
    &JOB,
    &KEEP,
    &RETRY,
    &MIRROR,
    &MIRROR_FROM,
    &MASK,
    &MASK_WITH,
    &DRILL,
    &DRILL_INTO,
    &DRILL_PLATFORM,
    &DRILL_ASSERT,
    &MIN_DOCUMENTS,
    &NEWEST_YOUNGER_THAN,
    &REFERENCES,
    &QUERY,
    &HTTP,
    &SECRET,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn form(form: Form) -> String {
        match form {
            Form::Name => "name".into(),
            Form::Text => "text".into(),
            Form::Flag => "`true` `false`".into(),
            Form::Count => "number".into(),
            Form::Duration => "duration".into(),
            Form::Size => "size".into(),
            Form::Address => "address".into(),
            Form::Path => "path".into(),
            Form::Url => "URL".into(),
            Form::LogLevel => "level".into(),
            Form::Cron => "schedule".into(),
            Form::TimeZone => "time zone".into(),
            Form::Names => "list of names".into(),
            Form::Texts => "list of texts".into(),
            Form::Paths => "list of paths".into(),
            Form::Tags => "list of words".into(),
            Form::Tiers => "list of tiers".into(),
            Form::PublicKeys => "list of keys".into(),
            Form::Recipients => "list of recipients".into(),
            Form::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" "),
            Form::WordOr(words, _) => {
                words.iter().map(|word| format!("`{word}` ")).chain(["table".into()]).collect()
            }
            Form::Plain => "value".into(),
            Form::Secret => "secret".into(),
            Form::Table(_) | Form::ByName(_) | Form::Tables(_) => "table".into(),
        }
    }

    fn row(key: &Key) -> String {
        let default = match key.need {
            Need::Required => "required".into(),
            Need::Optional => String::new(),
            Need::Default("") => "empty".into(),
            Need::Default(default) => format!("`{default}`"),
        };
        format!("`{}` | {} | {default}", key.name, form(key.form))
    }

    /// The first three columns of the rows below the heading `title`.
    fn documented(page: &str, title: &str) -> Vec<String> {
        let below = page.lines().skip_while(|line| line.trim_start_matches('#').trim() != title).skip(1);
        let rows = below.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
        rows.map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert!(cells.len() == 6 && !cells[4].is_empty(), "{title}: {line} has no meaning");
            cells[1..4].join(" | ")
        })
        .collect()
    }

    #[test]
    fn the_documentation_has_every_key_with_its_form_and_default() {
        let page = include_str!("../../../docs/settings.md");
        for keys in ALL.iter().filter(|keys| keys.title != ROOT.title) {
            let title = if keys.title == SECRET.title { "Secrets" } else { keys.title };
            let known: Vec<String> = keys.keys.iter().map(row).collect();
            assert_eq!(documented(page, title), known, "docs/settings.md, {title}");
        }
    }

    #[test]
    fn the_documentation_has_every_variable() {
        let page = include_str!("../../../docs/settings.md");
        let named: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `CONVAULT_")?.split('`').next()).collect();
        let known = ALL.iter().flat_map(|keys| keys.keys).filter_map(|key| key.variable);
        let known: Vec<&str> = [CONFIG_VARIABLE].into_iter().chain(known).collect();
        assert_eq!(named, known.iter().map(|name| &name[VARIABLE_PREFIX.len()..]).collect::<Vec<_>>());
    }
}
