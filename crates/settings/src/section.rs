//! A table of the settings, and small typed readers of its keys. Every reader notes what is wrong and goes on, so
//! that all problems come out together; it answers `None` for what was refused and for an optional key that is
//! not there.

use std::{borrow::Cow, ops::Range, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

use crate::{
    effective::Origin,
    keys::{ALL, Form, Key, Keys, Need, quoted_list},
    nearest::nearest,
    problem::Place,
    quantity,
    reading::{Reading, Refusal, quoted},
};

const PEM_MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// A hundred years: a time so far from now can still be told, while one much further is no date any more.
const LONGEST: Duration = Duration::from_hours(36_500 * 24);

pub(crate) struct Section<'d> {
    path: String,
    table: Option<&'d DeTable<'d>>,
    place: Place,
    keys: &'static Keys,
}

/// The value of a key, from wherever it came.
pub(crate) struct Lookup<'d> {
    input: Input<'d>,
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
}

enum Input<'d> {
    Toml(&'d DeValue<'d>),
    Text(Cow<'d, str>),
}

/// A value that is neither a list nor a table.
pub(crate) enum Plain {
    /// A string.
    Text(String),
    /// A number, `true` or `false`, as JSON writes it.
    Other(String),
}

impl<'d> Section<'d> {
    /// Opens a table and notes its unknown keys.
    pub(crate) fn open(
        reading: &mut Reading<'_>,
        path: String,
        table: &'d DeTable<'d>,
        place: Place,
        keys: &'static Keys,
    ) -> Self {
        let section = Self { path, table: Some(table), place, keys };
        for (name, _) in table.iter().filter(|(name, _)| keys.find(name.get_ref()).is_none()) {
            let place = reading.place(&name.span());
            let shown = name.get_ref().escape_debug().to_string();
            reading.refuse(place, &section.key_path(&shown), unknown(name.get_ref(), keys), "");
        }
        section
    }

    /// A table that is not there: every key has its default.
    pub(crate) fn absent(reading: &Reading<'_>, path: String, keys: &'static Keys) -> Self {
        Self { path, table: None, place: reading.whole_file(), keys }
    }

    /// The key as it is shown: `job.nightly.keep.daily`.
    pub(crate) fn key_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The path of the table itself.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where the table begins.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Where the value of `name` stands, or else the table.
    pub(crate) fn place_of(&self, reading: &Reading<'_>, name: &str) -> Place {
        self.find(name).map_or_else(|| self.place(), |value| reading.place(&value.span()))
    }

    /// Whether the file gives the key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table?.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn known(&self, name: &str) -> &'static Key {
        self.keys.find(name).expect("readers ask only for keys of `keys.rs`, which the tests read all of")
    }

    /// The value of a key: of its variable, else of the file, else its default.
    pub(crate) fn lookup(&self, reading: &mut Reading<'_>, name: &str) -> Option<Lookup<'d>> {
        let known = self.known(name);
        let key = self.key_path(name);
        if let Some((variable, value)) =
            known.variable.and_then(|variable| Some((variable, reading.environment.get(variable)?)))
        {
            let variable = variable.to_owned();
            let place = Place::Environment { variable: variable.clone() };
            let Some(value) = value.to_str() else {
                reading.problem(place, &key, "a value that is not UTF-8", known.form.expected());
                return None;
            };
            let input = Input::Text(Cow::Owned(value.to_owned()));
            return Some(Lookup { input, key, place, origin: Origin::Environment { variable } });
        }
        if let Some(value) = self.find(name) {
            let place = reading.place(&value.span());
            let origin = match &place {
                Place::Position { file, line, .. } => Origin::File { file: file.clone(), line: *line },
                _ => Origin::Default,
            };
            return Some(Lookup { input: Input::Toml(value.get_ref()), key, place, origin });
        }
        match known.need {
            Need::Default(text) => Some(Lookup {
                input: Input::Text(Cow::Borrowed(text)),
                key,
                place: self.place(),
                origin: Origin::Default,
            }),
            Need::Required => {
                reading.problem(self.place(), &key, "nothing", known.form.expected());
                None
            }
            Need::Optional => None,
        }
    }

    /// A string, made into something by `parse`, which gets the text and where it came from.
    pub(crate) fn parsed<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        parse: impl FnOnce(&Reading<'_>, &str, &Origin) -> Result<T, Refusal>,
    ) -> Option<T> {
        let (value, (text, origin)) = self.given(reading, name, |reading, text, origin| {
            let value = parse(reading, text, origin)?;
            Ok((value, (text.to_owned(), origin.clone())))
        })?;
        reading.holds(&self.key_path(name), text, origin);
        Some(value)
    }

    /// Like [`Section::parsed`], but what holds is left to the caller to note.
    pub(crate) fn given<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        parse: impl FnOnce(&mut Reading<'_>, &str, &Origin) -> Result<T, Refusal>,
    ) -> Option<T> {
        let lookup = self.lookup(reading, name)?;
        let text = match &lookup.input {
            Input::Text(text) | Input::Toml(DeValue::String(text)) => text.as_ref(),
            Input::Toml(other) => {
                return wrong_form(reading, &lookup, other, &self.known(name).form.expected());
            }
        };
        match parse(reading, text, &lookup.origin) {
            Ok(value) => Some(value),
            Err(refusal) => {
                reading.refuse(lookup.place, &lookup.key, refusal, text);
                None
            }
        }
    }

    /// A string made into something by a function that only says yes or no.
    pub(crate) fn simple<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let form = self.known(name).form;
        self.parsed(reading, name, |_, text, _| parse(text).ok_or_else(|| Refusal::expected(form.expected())))
    }

    /// One of the words of the key's form.
    pub(crate) fn one_of(&self, reading: &mut Reading<'_>, name: &str) -> Option<&'static str> {
        let Form::OneOf(words) = self.known(name).form else {
            unreachable!("`{name}` is one of several words")
        };
        self.parsed(reading, name, |_, text, _| {
            words.iter().copied().find(|word| *word == text).ok_or_else(|| Refusal {
                found: None,
                expected: format!("one of {}", quoted_list(words)),
                nearest: nearest(text, words.iter().copied()).map(str::to_owned),
            })
        })
    }

    /// A duration of at least `least`.
    pub(crate) fn duration(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        least: Duration,
    ) -> Option<Duration> {
        let form = self.known(name).form;
        self.parsed(reading, name, |_, text, _| match quantity::duration(text) {
            None => Err(Refusal::expected(form.expected())),
            Some(duration) if duration < least => {
                Err(Refusal::expected(format!("a duration of {} s or more", least.as_secs())))
            }
            Some(duration) if duration > LONGEST => Err(Refusal::expected("a duration of 36500d or less")),
            Some(duration) => Ok(duration),
        })
    }

    /// A path, made absolute.
    pub(crate) fn path_value(&self, reading: &mut Reading<'_>, name: &str) -> Option<PathBuf> {
        self.parsed(reading, name, |reading, text, origin| {
            if text.is_empty() || text.contains('\0') {
                return Err(Refusal::expected("a path"));
            }
            if text.starts_with('~') {
                return Err(Refusal::expected("a path without `~`, which is not expanded here"));
            }
            Ok(reading.resolve(text, origin))
        })
    }

    /// A file of certificates in PEM, made absolute, that is there and can be read.
    pub(crate) fn ca_file(&self, reading: &mut Reading<'_>) -> Option<PathBuf> {
        let path = self.path_value(reading, "ca_file")?;
        let expected = "a file of certificates in PEM that this user can read";
        let found = match std::fs::read(&path) {
            Ok(bytes) if bytes.windows(PEM_MARK.len()).any(|window| window == PEM_MARK) => return Some(path),
            Ok(_) => format!("`{}`, which holds no `-----BEGIN CERTIFICATE-----`", path.display()),
            Err(error) => format!("`{}` ({error})", path.display()),
        };
        reading.problem(self.place_of(reading, "ca_file"), &self.key_path("ca_file"), found, expected);
        None
    }

    /// An `http` or `https` URL without credentials, query or fragment; over plain `http` to another machine a
    /// warning is noted, since whatever `carries` says would travel readable.
    pub(crate) fn url(&self, reading: &mut Reading<'_>, name: &str, carries: &str) -> Option<Url> {
        let url = self.parsed(reading, name, |_, text, _| parse_url(text))?;
        if url.scheme() == "http" && !is_loopback(&url) {
            let place = self.place_of(reading, name);
            let text = format!(
                "{carries} travel unencrypted over http; use https, or a network that nobody else reads"
            );
            reading.warn(place, &self.key_path(name), text);
        }
        Some(url)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, reading: &mut Reading<'_>, name: &str) -> Option<bool> {
        let lookup = self.lookup(reading, name)?;
        let flag = match lookup.input {
            Input::Toml(DeValue::Boolean(flag)) => *flag,
            Input::Text(text) => text == "true",
            Input::Toml(other) => return wrong_form(reading, &lookup, other, &Form::Flag.expected()),
        };
        reading.holds(&lookup.key, flag.to_string(), lookup.origin);
        Some(flag)
    }

    /// A whole number within `bounds`.
    pub(crate) fn count(&self, reading: &mut Reading<'_>, name: &str, bounds: Range<u32>) -> Option<u32> {
        let lookup = self.lookup(reading, name)?;
        let expected = format!("a whole number from {} to {}", bounds.start, bounds.end - 1);
        let (text, number) = match &lookup.input {
            Input::Toml(DeValue::Integer(number)) => {
                (number.to_string(), u32::from_str_radix(number.as_str(), number.radix()).ok())
            }
            Input::Text(text) => (text.to_string(), text.parse().ok()),
            Input::Toml(other) => return wrong_form(reading, &lookup, other, &expected),
        };
        if let Some(number) = number.filter(|number| bounds.contains(number)) {
            reading.holds(&lookup.key, number.to_string(), lookup.origin);
            return Some(number);
        }
        reading.problem(lookup.place, &lookup.key, text, expected);
        None
    }

    /// A list of strings, each made into something by `parse`; what is refused is left out, so that the caller
    /// can still check the rest.
    pub(crate) fn list<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        self.strings(reading, name, false, parse)
    }

    /// A list of strings in which one may stand several times, as in the arguments of a command.
    pub(crate) fn repeating_list<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        self.strings(reading, name, true, parse)
    }

    fn strings<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
        may_repeat: bool,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let lookup = self.lookup(reading, name)?;
        let expected = self.known(name).form.expected();
        let items = match &lookup.input {
            Input::Toml(DeValue::Array(items)) => items,
            Input::Toml(other) => return wrong_form(reading, &lookup, other, &expected),
            Input::Text(_) => unreachable!("no list has a default or a variable"),
        };
        let (mut values, mut texts) = (vec![], vec![]);
        for (number, item) in items.iter().enumerate() {
            let key = format!("{}[{number}]", lookup.key);
            let place = reading.place(&item.span());
            let DeValue::String(text) = item.get_ref() else {
                reading.problem(place, &key, form_found(item.get_ref()), "a string");
                continue;
            };
            if !may_repeat && texts.contains(text) {
                reading.problem(place, &key, format!("{} a second time", quoted(text)), "each once");
                continue;
            }
            texts.push(text.clone());
            match parse(text) {
                Ok(value) => values.push(value),
                Err(refusal) => reading.refuse(place, &key, refusal, text),
            }
        }
        reading.holds(&lookup.key, texts.join(", "), lookup.origin);
        Some(values)
    }

    /// The table below `name`; one that is not there is `None`.
    pub(crate) fn table(&self, reading: &mut Reading<'_>, name: &str) -> Option<Section<'d>> {
        let (Form::Table(keys), Some(value)) = (self.known(name).form, self.find(name)) else { return None };
        let path = self.key_path(name);
        let place = reading.place(&value.span());
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section::open(reading, path, table, place, keys));
        }
        reading.problem(place, &path, form_found(value.get_ref()), format!("a table {}", keys.title));
        None
    }

    /// One of the words of the key's form, or the table that may stand in its place.
    pub(crate) fn word_or_table(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
    ) -> Option<Result<&'static str, Section<'d>>> {
        let form = self.known(name).form;
        let Form::WordOr(words, keys) = form else { unreachable!("`{name}` is a word or a table") };
        if let Some(value) = self.find(name)
            && let DeValue::Table(table) = value.get_ref()
        {
            let place = reading.place(&value.span());
            return Some(Err(Section::open(reading, self.key_path(name), table, place, keys)));
        }
        let word = self.parsed(reading, name, |_, text, _| {
            words.iter().copied().find(|word| *word == text).ok_or_else(|| Refusal {
                found: None,
                expected: form.expected(),
                nearest: nearest(text, words.iter().copied()).map(str::to_owned),
            })
        });
        word.map(Ok)
    }

    /// A string, a number, `true` or `false`. A whole number stays one, and another keeps its point or exponent.
    pub(crate) fn plain(&self, reading: &mut Reading<'_>, name: &str) -> Option<Plain> {
        let lookup = self.lookup(reading, name)?;
        let plain = match &lookup.input {
            Input::Text(text) | Input::Toml(DeValue::String(text)) => Plain::Text(text.to_string()),
            Input::Toml(value) => match number_or_flag(value) {
                Some(text) => Plain::Other(text),
                None => return wrong_form(reading, &lookup, value, &Form::Plain.expected()),
            },
        };
        let (Plain::Text(shown) | Plain::Other(shown)) = &plain;
        reading.holds(&lookup.key, shown.clone(), lookup.origin);
        Some(plain)
    }

    /// The tables below `name`, with the names they have there.
    pub(crate) fn tables_by_name(
        &self,
        reading: &mut Reading<'_>,
        name: &str,
    ) -> Vec<(&'d str, Section<'d>)> {
        let (Form::ByName(keys), Some(value)) = (self.known(name).form, self.find(name)) else {
            return vec![];
        };
        let path = self.key_path(name);
        let DeValue::Table(tables) = value.get_ref() else {
            let place = reading.place(&value.span());
            reading.problem(place, &path, form_found(value.get_ref()), Form::ByName(keys).expected());
            return vec![];
        };
        let mut sections = vec![];
        for (label, item) in tables {
            let (place, path) =
                (reading.place(&item.span()), format!("{path}.{}", label.get_ref().escape_debug()));
            match item.get_ref() {
                DeValue::Table(table) => {
                    let section = Section::open(reading, path, table, place, keys);
                    sections.push((label.get_ref().as_ref(), section));
                }
                other => reading.problem(place, &path, form_found(other), Form::ByName(keys).expected()),
            }
        }
        sections
    }

    /// The table below `name`, or one of defaults only.
    pub(crate) fn table_or_defaults(&self, reading: &mut Reading<'_>, name: &str) -> Section<'d> {
        let Form::Table(keys) = self.known(name).form else { unreachable!("`{name}` is a table") };
        self.table(reading, name).unwrap_or_else(|| Section::absent(reading, self.key_path(name), keys))
    }

    /// The tables of an array of tables. Each is known by its `name` where that is a string, else by its number.
    pub(crate) fn tables(&self, reading: &mut Reading<'_>, name: &str) -> Vec<Section<'d>> {
        let (Form::Tables(keys), Some(value)) = (self.known(name).form, self.find(name)) else {
            return vec![];
        };
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            other => {
                let place = reading.place(&value.span());
                reading.problem(
                    place,
                    &self.key_path(name),
                    form_found(other),
                    Form::Tables(keys).expected(),
                );
                return vec![];
            }
        };
        let mut sections = vec![];
        for (number, item) in items.iter().enumerate() {
            let place = reading.place(&item.span());
            let DeValue::Table(table) = item.get_ref() else {
                let path = format!("{}[{number}]", self.key_path(name));
                reading.problem(place, &path, form_found(item.get_ref()), Form::Tables(keys).expected());
                continue;
            };
            let label =
                table.iter().find(|(key, _)| key.get_ref() == "name").and_then(|(_, v)| v.get_ref().as_str());
            let path = match label.filter(|label| is_plain(label)) {
                Some(label) => format!("{name}.{label}"),
                None => format!("{}[{number}]", self.key_path(name)),
            };
            sections.push(Section::open(reading, path, table, place, keys));
        }
        sections
    }

    /// The value of a secret's key as the table it must be; anything else is refused without being shown.
    pub(crate) fn secret_table(&self, reading: &mut Reading<'_>, name: &str) -> Option<Section<'d>> {
        let lookup = self.lookup(reading, name)?;
        match &lookup.input {
            Input::Toml(DeValue::Table(table)) => {
                Some(Section::open(reading, lookup.key, table, lookup.place, &crate::keys::SECRET))
            }
            Input::Toml(DeValue::String(_)) => {
                reading.problem(
                    lookup.place,
                    &lookup.key,
                    "a plain string",
                    format!(
                        "{}: a secret is never written into the settings, which are copied, shown and kept in \
                         version control",
                        Form::Secret.expected()
                    ),
                );
                None
            }
            Input::Toml(other) => wrong_form(reading, &lookup, other, &Form::Secret.expected()),
            Input::Text(_) => unreachable!("no secret has a default or a variable"),
        }
    }
}

fn is_plain(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn unknown(name: &str, keys: &'static Keys) -> Refusal {
    let near = nearest(name, keys.keys.iter().map(|key| key.name)).map(str::to_owned);
    let owners = ALL.iter().filter(|other| other.find(name).is_some() && near.is_none());
    let owners: Vec<&str> = owners.map(|other| other.title).collect();
    let expected = if owners.is_empty() {
        let names: Vec<&str> = keys.keys.iter().map(|key| key.name).collect();
        format!("a key of {}: {}", keys.title, names.join(", "))
    } else {
        format!("no such key in {}: `{name}` belongs in {}", keys.title, owners.join(" or "))
    };
    Refusal { found: Some("an unknown key".into()), expected, nearest: near }
}

fn wrong_form<T>(
    reading: &mut Reading<'_>,
    lookup: &Lookup<'_>,
    found: &DeValue<'_>,
    expected: &str,
) -> Option<T> {
    reading.problem(lookup.place.clone(), &lookup.key, form_found(found), expected);
    None
}

fn number_or_flag(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            number.is_finite().then(|| format!("{number:?}"))
        }
        _ => None,
    }
}

fn form_found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
            "a list of tables".into()
        }
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a single table".into(),
    }
}

fn parse_url(text: &str) -> Result<Url, Refusal> {
    let expected = "an http or https URL without user, password, query or fragment";
    // A URL that is refused may hold a password, in whatever part of it: it is never shown.
    let refusal = |found: &str| Refusal::unshown(found, expected);
    let url = Url::parse(text).map_err(|error| refusal(&format!("a string that is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refusal("a URL of another scheme"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refusal("a URL with credentials in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refusal("a URL with a query or fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
