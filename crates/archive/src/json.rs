//! A syntax check of one JSON object that builds nothing and touches no number.
//!
//! A JSON library that skips values does not look at all of their bytes (invalid UTF-8, half surrogate pairs), and
//! is no faster (measured in `docs/decisions/0002-resume-points.md`); the tests hold this to the answers that
//! `serde_json` gives when it builds everything.

use std::borrow::Cow;

use crate::LineProblem;

/// The deepest nesting read; `serde_json` has the same bound, Convex stops at 64.
const MAX_DEPTH: u32 = 127;

/// Checks that `line` is one JSON object in UTF-8 with a string `_id`, and gives that.
pub(crate) fn id_of(line: &[u8]) -> Result<Cow<'_, str>, LineProblem> {
    let (text, scanner) = scan(line)?;
    let (start, end) = scanner.id.ok_or(LineProblem::NoId)?;
    let raw = &text[start..end];
    if raw.contains('\\') {
        let quoted = &text[start - 1..=end];
        return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| LineProblem::NotJson);
    }
    Ok(Cow::Borrowed(raw))
}

/// Checks that `line` is one JSON object in UTF-8, and gives its text.
pub(crate) fn object(line: &[u8]) -> Result<&str, LineProblem> {
    scan(line).map(|(text, _)| text)
}

fn scan(line: &[u8]) -> Result<(&str, Scanner<'_>), LineProblem> {
    let text = std::str::from_utf8(line).map_err(|_| LineProblem::NotJson)?;
    let mut scanner = Scanner { bytes: line, at: 0, kinds: 0, depth: 0, id: None };
    match scanner.next_token() {
        None => return Err(LineProblem::Blank),
        Some(b'{') => scanner.at = 0,
        Some(_) => return Err(LineProblem::NotAnObject),
    }
    scanner.object().ok_or(LineProblem::NotJson)?;
    Ok((text, scanner))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// One bit per open bracket, the innermost lowest: set for an object.
    kinds: u128,
    depth: u32,
    /// Where the content of the outermost `_id` lies.
    id: Option<(usize, usize)>,
}

impl Scanner<'_> {
    /// The next byte that is not white space, consumed.
    #[inline]
    fn next_token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
        }
    }

    /// One object and nothing after it. `None` wherever the syntax is broken.
    fn object(&mut self) -> Option<()> {
        let first = self.next_token()?;
        self.value(first)?;
        while self.depth > 0 {
            let in_object = self.kinds & 1 == 1;
            match self.next_token()? {
                b',' if in_object => {
                    let token = self.next_token()?;
                    self.member(token)?;
                }
                b',' => {
                    let token = self.next_token()?;
                    self.value(token)?;
                }
                b'}' if in_object => self.close(),
                b']' if !in_object => self.close(),
                _ => return None,
            }
        }
        self.next_token().is_none().then_some(())
    }

    fn close(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    fn open(&mut self, is_object: bool) -> Option<()> {
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// A value that begins with `token`; of an array or object, what comes before its first comma or its end.
    fn value(&mut self, mut token: u8) -> Option<()> {
        loop {
            match token {
                b'"' => return self.string().map(|_| ()),
                b'{' => {
                    self.open(true)?;
                    match self.next_token()? {
                        b'}' => {
                            self.close();
                            return Some(());
                        }
                        b'"' => token = self.key()?,
                        _ => return None,
                    }
                }
                b'[' => {
                    self.open(false)?;
                    token = self.next_token()?;
                    if token == b']' {
                        self.close();
                        return Some(());
                    }
                }
                b'-' | b'0'..=b'9' => return self.number(token),
                b't' => return self.literal(b"rue"),
                b'f' => return self.literal(b"alse"),
                b'n' => return self.literal(b"ull"),
                _ => return None,
            }
        }
    }

    fn member(&mut self, token: u8) -> Option<()> {
        if token != b'"' {
            return None;
        }
        let first = self.key()?;
        self.value(first)
    }

    /// A key after its opening quote, and the colon; gives the first byte of the value.
    fn key(&mut self) -> Option<u8> {
        let (start, end) = self.string()?;
        if self.next_token()? != b':' {
            return None;
        }
        let token = self.next_token()?;
        if token == b'"' && self.depth == 1 && &self.bytes[start..end] == b"_id" {
            let value_start = self.at;
            let (_, value_end) = self.string()?;
            self.id = Some((value_start, value_end));
            self.at = value_start;
        }
        Some(token)
    }

    /// A string after its opening quote; gives where its content lies.
    #[inline]
    fn string(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => return Some((start, self.at - 1)),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.hex4()? {
                0xd800..=0xdbff => {
                    let pair = self.bytes.get(self.at..self.at + 2)?;
                    self.at += 2;
                    (pair == b"\\u" && matches!(self.hex4()?, 0xdc00..=0xdfff)).then_some(())
                }
                0xdc00..=0xdfff => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self, first: u8) -> Option<()> {
        let leading = if first == b'-' { self.take()? } else { first };
        match leading {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.take().filter(u8::is_ascii_digit)?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.take().filter(u8::is_ascii_digit)?;
            self.digits();
        }
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..self.at + rest.len())?;
        self.at += rest.len();
        (found == rest).then_some(())
    }
}

/// How many leading bytes need no attention inside a string: no quote, no backslash, no control character.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut length = 0;
    for word in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().expect("the chunk has 8 bytes"));
        let zero_where = |pattern: u64| (word ^ pattern).wrapping_sub(ONES) & !(word ^ pattern);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let special =
            (zero_where(ONES * u64::from(b'"')) | zero_where(ONES * u64::from(b'\\')) | below_space) & HIGHS;
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    length + bytes[length..].iter().position(special).unwrap_or(bytes.len() - length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_serde(line: &[u8]) -> bool {
        serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|value| value["_id"].is_string())
    }

    #[test]
    fn the_id_is_that_of_the_outermost_object() {
        assert_eq!(id_of(br#"{"a":{"_id":"inner"},"_id":"outer","z":["_id"]}"#).unwrap(), "outer");
        assert_eq!(id_of(br#"{"_id":"a\u0041"}"#).unwrap(), "aA");
        assert_eq!(id_of(br#"{"a":{"_id":"inner"}}"#), Err(LineProblem::NoId));
        assert_eq!(id_of(br#"{"_id":7}"#), Err(LineProblem::NoId));
        assert_eq!(id_of(b"  "), Err(LineProblem::Blank));
        assert_eq!(id_of(b"[]"), Err(LineProblem::NotAnObject));
        assert_eq!(id_of(b"{\"_id\":\"a\xff\"}"), Err(LineProblem::NotJson));
    }

    #[test]
    fn broken_syntax_is_found() {
        for line in [
            r#"{"_id":"a""#,
            r#"{"_id":"a"}}"#,
            r#"{"_id":"a"} x"#,
            r#"{"_id":"a",}"#,
            r#"{"_id":"a","b":[1,]}"#,
            r#"{"_id":"a","b":[1}"#,
            r#"{"_id":"a","b":01}"#,
            r#"{"_id":"a","b":1.}"#,
            r#"{"_id":"a","b":.5}"#,
            r#"{"_id":"a","b":1e}"#,
            r#"{"_id":"a","b":-}"#,
            r#"{"_id":"a","b":nul}"#,
            r#"{"_id":"a","b":NaN}"#,
            r#"{"_id":"a" "b":1}"#,
            r#"{"_id":"a","b" 1}"#,
            r#"{"_id":"a","b":"\x"}"#,
            r#"{"_id":"a","b":"\ud800"}"#,
            r#"{"_id":"a","b":"\udc00"}"#,
            "{\"_id\":\"a\",\"b\":\"\u{1}\"}",
            "{_id:\"a\"}",
        ] {
            assert_eq!(id_of(line.as_bytes()), Err(LineProblem::NotJson), "{line}");
        }
        let deep = format!(r#"{{"_id":"a","b":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
        assert_eq!(id_of(deep.as_bytes()), Err(LineProblem::NotJson));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            // Short numbers: one changed byte must not make `1e345` of them, which only `serde_json` refuses.
            prop::sample::select(vec!["1.0", "-0.0", "1e16", "0.5", "2.5e-7", "1E+2"])
                .prop_map(str::to_owned),
            (-999_i32..1000).prop_map(|n| n.to_string()),
            any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                    let members: Vec<_> = members
                        .into_iter()
                        .map(|(key, value)| format!("{}:{value}", serde_json::to_string(&key).unwrap()))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_valid_object_is_accepted(value in json(), id in "[a-z0-9]{1,40}") {
            let line = format!(r#"{{"a":{value},"_id":"{id}","b":{value}}}"#);
            prop_assert_eq!(id_of(line.as_bytes()).unwrap(), id);
        }

        #[test]
        fn a_changed_byte_is_judged_as_serde_json_does(value in json(), place in any::<prop::sample::Index>(), byte: u8) {
            let mut line = format!(r#"{{"_id":"k","a":{value}}}"#).into_bytes();
            let place = place.index(line.len());
            line[place] = byte;
            prop_assert_eq!(id_of(&line).is_ok(), by_serde(&line), "{}", String::from_utf8_lossy(&line));
        }
    }
}
