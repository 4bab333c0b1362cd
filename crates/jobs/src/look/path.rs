//! [`FieldPath`]: which field of a document.

use std::{fmt, str::FromStr};

/// A field, or one inside another: `address.city`. A dot or backslash that belongs to a name has a backslash before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<String>);

/// A text that is no path of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no field; expected `name`, or `name.inner` (a dot inside a name is written `\\.`)")]
pub struct ParseFieldPathError {
    text: String,
}

impl FieldPath {
    /// The path of a field inside this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// The value there, as it is written in `line`.
    pub fn value<'a>(&self, line: &'a [u8]) -> Option<&'a str> {
        super::token::value_at(line, &self.0)
    }
}

impl FromStr for FieldPath {
    type Err = ParseFieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let name = names.last_mut().expect("there is always one");
            match character {
                '.' => names.push(String::new()),
                '\\' => name.extend(characters.next()),
                other => name.push(other),
            }
        }
        if names.iter().any(String::is_empty) {
            return Err(ParseFieldPathError { text: text.to_owned() });
        }
        Ok(Self(names))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{}", name.replace('\\', "\\\\").replace('.', "\\."))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_back_from_its_text() {
        for (text, names) in [
            ("a", vec!["a"]),
            ("a.b", vec!["a", "b"]),
            (r"a\.b.c", vec!["a.b", "c"]),
            (r"a\\.b", vec![r"a\", "b"]),
        ] {
            let path: FieldPath = text.parse().unwrap();
            assert_eq!(path.0, names);
            assert_eq!(path.to_string(), text);
        }
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert!(text.parse::<FieldPath>().is_err(), "{text}");
        }
    }
}
