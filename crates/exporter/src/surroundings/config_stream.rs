//! Taking the answer of `get_config` apart while it arrives: one file for each module and for its source map.
//!
//! The answer is one JSON object as long as the code is, so it is never held: `{"config":{…},"modules":[{"path",
//! "source","sourceMap","environment"},…],"udfServerVersion"}`. The texts of `source` and `sourceMap` are unescaped as
//! they pass; `path` comes before them in every server's answer, and what is not in order is refused.

/// The longest path, environment or key that is believed.
const MAX_NAME_BYTES: usize = 4 << 10;
/// The longest rest of the answer, which is configuration.
const MAX_REST_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;

/// Why an answer is not what a server sends. A phrase for a person.
pub(crate) type Odd = &'static str;

/// What is found on the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The source of the module of this path begins.
    Source(String),
    /// The source map of the module of this path begins.
    Map(String),
    /// More of it.
    Bytes(Vec<u8>),
    /// A module ends.
    Module {
        /// Its path.
        path: String,
        /// `isolate` or `node`.
        environment: Option<String>,
    },
}

/// Where in the answer a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Environment,
    Source,
    Map,
    Other,
}

#[derive(Debug)]
enum Container {
    /// An object with its last key.
    Object(String),
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A key of an object.
    Key,
    /// A value.
    Value(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    /// Hexadecimal digits so far, and their value.
    Unicode(u8, u32),
}

/// Reads the answer piece by piece.
#[derive(Debug)]
pub(crate) struct ConfigStream {
    stack: Vec<Container>,
    text: Option<Text>,
    escape: Escape,
    /// The first half of a character that JSON writes in two.
    high: Option<u32>,
    /// Whether the next string of an object is a key.
    key_next: bool,
    ended: bool,
    path: Option<String>,
    environment: Option<String>,
    name: Vec<u8>,
    /// Everything but the modules, as it came.
    rest: Vec<u8>,
    pending: Vec<u8>,
    events: Vec<Event>,
}

impl ConfigStream {
    pub(crate) fn new() -> Self {
        Self {
            stack: Vec::new(),
            text: None,
            escape: Escape::No,
            high: None,
            key_next: false,
            ended: false,
            path: None,
            environment: None,
            name: Vec::new(),
            rest: Vec::new(),
            pending: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes the next bytes, and gives what they hold.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Odd> {
        for byte in bytes {
            match self.text {
                Some(text) => self.in_text(*byte, text)?,
                None => self.between(*byte)?,
            }
        }
        self.flush();
        Ok(std::mem::take(&mut self.events))
    }

    /// The answer without its modules, once it has ended.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Odd> {
        if self.ended { Ok(self.rest) } else { Err("it ends early") }
    }

    /// Whether what is read now is within the list of modules.
    fn in_modules(&self) -> bool {
        matches!(self.stack.as_slice(), [Container::Object(key), Container::Array, ..] if key == "modules")
    }

    fn part(&self) -> Part {
        match self.stack.as_slice() {
            [Container::Object(top), Container::Array, Container::Object(key)] if top == "modules" => {
                match key.as_str() {
                    "path" => Part::Path,
                    "environment" => Part::Environment,
                    "source" => Part::Source,
                    "sourceMap" => Part::Map,
                    _ => Part::Other,
                }
            }
            _ => Part::Other,
        }
    }

    fn between(&mut self, byte: u8) -> Result<(), Odd> {
        if self.ended && !byte.is_ascii_whitespace() {
            return Err("something follows its end");
        }
        match byte {
            b'{' => self.open(Container::Object(String::new()), byte),
            b'[' => self.open(Container::Array, byte),
            b'}' | b']' => self.close(byte),
            b'"' => self.begin_text(),
            b',' => {
                self.key_next = matches!(self.stack.last(), Some(Container::Object(_)));
                self.keep(byte)
            }
            _ if self.stack.is_empty() && !byte.is_ascii_whitespace() => Err("it is no object"),
            _ => self.keep(byte),
        }
    }

    fn open(&mut self, container: Container, byte: u8) -> Result<(), Odd> {
        if self.stack.len() >= MAX_DEPTH || (self.stack.is_empty() && byte != b'{') {
            return Err("it is not one object");
        }
        self.keep(byte)?;
        self.key_next = byte == b'{';
        self.stack.push(container);
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), Odd> {
        let was_module = self.stack.len() == 3 && self.in_modules();
        match (self.stack.pop(), byte) {
            (Some(Container::Object(_)), b'}') | (Some(Container::Array), b']') => {}
            _ => return Err("its brackets do not match"),
        }
        self.key_next = false;
        if was_module {
            let path = self.path.take().ok_or("a module has no path")?;
            self.flush();
            self.events.push(Event::Module { path, environment: self.environment.take() });
        }
        self.ended = self.stack.is_empty();
        self.keep(byte)
    }

    fn begin_text(&mut self) -> Result<(), Odd> {
        let text = if std::mem::take(&mut self.key_next) { Text::Key } else { Text::Value(self.part()) };
        self.keep(b'"')?;
        self.text = Some(text);
        self.name.clear();
        let path = || self.path.clone().ok_or("a module's source comes before its path");
        let event = match text {
            Text::Value(Part::Source) => Event::Source(path()?),
            Text::Value(Part::Map) => Event::Map(path()?),
            _ => return Ok(()),
        };
        self.flush();
        self.events.push(event);
        Ok(())
    }

    fn in_text(&mut self, byte: u8, text: Text) -> Result<(), Odd> {
        self.keep(byte)?;
        match (self.escape, byte) {
            (Escape::No, b'"') => self.end_text(text),
            (Escape::No, b'\\') => {
                self.escape = Escape::Begun;
                Ok(())
            }
            (Escape::No, 0..=0x1f) => Err("a text has a control character in it"),
            (Escape::No, _) => self.add(text, &[byte]),
            (Escape::Begun, b'u') => {
                self.escape = Escape::Unicode(0, 0);
                Ok(())
            }
            (Escape::Begun, _) => {
                self.escape = Escape::No;
                let plain = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err("a text has an escape that JSON does not know"),
                };
                self.add(text, &[plain])
            }
            (Escape::Unicode(digits, value), _) => {
                let digit = char::from(byte).to_digit(16).ok_or("a text has an escape that is none")?;
                let value = value * 16 + digit;
                if digits < 3 {
                    self.escape = Escape::Unicode(digits + 1, value);
                    return Ok(());
                }
                self.escape = Escape::No;
                self.add_unit(text, value)
            }
        }
    }

    /// One UTF-16 unit, which may be half of a character.
    fn add_unit(&mut self, text: Text, unit: u32) -> Result<(), Odd> {
        let character = match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00))
            }
            (None, 0xd800..=0xdbff) => {
                self.high = Some(unit);
                return Ok(());
            }
            _ => char::from_u32(unit),
        };
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.add(text, character.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn add(&mut self, text: Text, bytes: &[u8]) -> Result<(), Odd> {
        if self.high.take().is_some() {
            // Half of a character without the other: no UTF-8 has it, so a mark stands in its place.
            self.add(text, char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes())?;
        }
        match text {
            Text::Value(Part::Source | Part::Map) => self.pending.extend_from_slice(bytes),
            Text::Value(Part::Other) => {}
            _ if self.name.len() + bytes.len() > MAX_NAME_BYTES => return Err("a name is far too long"),
            _ => self.name.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn end_text(&mut self, text: Text) -> Result<(), Odd> {
        self.add(text, &[])?;
        self.text = None;
        self.flush();
        let name = String::from_utf8(std::mem::take(&mut self.name)).map_err(|_| "a name is not UTF-8")?;
        match text {
            Text::Key => {
                if let Some(Container::Object(key)) = self.stack.last_mut() {
                    *key = name;
                }
            }
            Text::Value(Part::Path) => self.path = Some(name),
            Text::Value(Part::Environment) => self.environment = Some(name),
            Text::Value(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.events.push(Event::Bytes(std::mem::take(&mut self.pending)));
        }
    }

    /// Keeps a byte of the answer that belongs to no module.
    fn keep(&mut self, byte: u8) -> Result<(), Odd> {
        if self.in_modules() {
            return Ok(());
        }
        if self.rest.len() >= MAX_REST_BYTES {
            return Err("its configuration is longer than 1 MiB");
        }
        self.rest.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfigStream, Event};

    /// What is found, and its text.
    type Text = (String, String);

    /// Everything that `json` holds when it comes in pieces of `size`: texts put together again, and the rest.
    fn read(json: &str, size: usize) -> Result<(Vec<Text>, String), &'static str> {
        let mut stream = ConfigStream::new();
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for piece in json.as_bytes().chunks(size) {
            for event in stream.feed(piece)? {
                match event {
                    Event::Source(path) => found.push((path, Vec::new())),
                    Event::Map(path) => found.push((format!("{path}.map"), Vec::new())),
                    Event::Bytes(bytes) => found.last_mut().unwrap().1.extend(bytes),
                    Event::Module { path, environment } => {
                        found.push((format!("{path} {environment:?}"), Vec::new()));
                    }
                }
            }
        }
        let found = found.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()));
        Ok((found.collect(), String::from_utf8(stream.finish()?).unwrap()))
    }

    const ANSWER: &str = concat!(
        r#"{"config":{"functions":"convex/","path":"no module"},"modules":["#,
        r#"{"path":"a/b.js","source":"let x = \"\u00e9\ud83d\ude42\";\n// [}]\\","sourceMap":"{\"v\":3}","environment":"isolate"},"#,
        r#"{"path":"empty.js","source":"","sourceMap":null,"environment":"node","more":[{"path":"inner"}]}"#,
        r#"],"udfServerVersion":"1.48.0"}"#
    );

    #[test]
    fn modules_are_taken_out_whatever_the_pieces() {
        let expected = [
            ("a/b.js", "let x = \"é🙂\";\n// [}]\\"),
            ("a/b.js.map", "{\"v\":3}"),
            ("a/b.js Some(\"isolate\")", ""),
            ("empty.js", ""),
            ("empty.js Some(\"node\")", ""),
        ];
        for size in [1, 2, 3, 7, 64, 10_000] {
            let (found, rest) = read(ANSWER, size).unwrap();
            let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(found, expected, "in pieces of {size}");
            assert_eq!(
                rest,
                r#"{"config":{"functions":"convex/","path":"no module"},"modules":[],"udfServerVersion":"1.48.0"}"#
            );
        }
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        for (json, words) in [
            (r#"{"modules":[{"source":"x","path":"a"}]}"#, "before its path"),
            (r#"{"modules":[{"source":1}]}"#, "has no path"),
            (r#"{"modules":["#, "ends early"),
            (r#"{"modules":[}"#, "brackets"),
            ("[1]", "not one object"),
            ("12", "no object"),
            ("{} {}", "follows its end"),
            (r#"{"a":"\x"}"#, "escape"),
        ] {
            let error = read(json, 3).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
