//! [`Line`]: a line of JSON of which only spans are known, so that it can be looked into and changed without being
//! written anew.

use std::{borrow::Cow, ops::Range};

use crate::{LineProblem, json};

/// One JSON object, whose syntax was checked and whose bytes are left as they are: numbers are data (`1` is an Int64,
/// `1.0` a Float64), so that nothing here parses or writes one.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    text: &'a str,
    members: Vec<Member>,
}

/// A member of an object: where its key lies, quotes included, and where its value.
#[derive(Debug, Clone)]
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

impl<'a> Line<'a> {
    /// Looks through a line, given without its line feed.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineProblem> {
        let text = json::object(line)?;
        let members = Members::of(line, skip_space(line, 0)).collect();
        Ok(Self { text, members })
    }

    /// The bytes of the value at `path`, a member in a member; `None` where there is none. Of members with one name the
    /// last counts, as it does for the backend.
    pub fn raw(&self, path: &[&str]) -> Option<&'a [u8]> {
        self.span(path).map(|span| &self.text.as_bytes()[span])
    }

    /// The string at `path`; `None` where there is none, or something else.
    pub fn text(&self, path: &[&str]) -> Option<Cow<'a, str>> {
        let span = self.span(path)?;
        string(&self.text[span])
    }

    /// Name and raw value of every member of the line itself, in its order.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        let text = self.text;
        self.members.iter().filter_map(move |member| {
            let name = string(&text[member.key.clone()])?;
            Some((name, &text.as_bytes()[member.value.clone()]))
        })
    }

    /// Where the value at `path` lies in the line.
    pub fn span(&self, path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let found = self.members.iter().rfind(|member| self.is_named(member, first))?;
        let mut span = found.value.clone();
        for name in rest {
            let members = self.members_of(&span)?;
            span = members.filter(|member| self.is_named(member, name)).last()?.value;
        }
        Some(span)
    }

    /// Where all values lie that `path` leads to, in order: on its way it goes through every element of an array, and
    /// through every member of that name.
    pub fn spans(&self, path: &[&str]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if let Some((first, rest)) = path.split_first() {
            for member in self.members.iter().filter(|member| self.is_named(member, first)) {
                self.reach(member.value.clone(), rest, &mut found);
            }
        }
        found
    }

    /// Where the plain values lie that a value is made of, in order: itself, or those in its members and elements. What
    /// JSON cannot hold, `{"$bytes":"…"}` and the like, is one plain value.
    pub fn leaves(&self, span: Range<usize>) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut open = vec![span];
        while let Some(span) = open.pop() {
            let within: Vec<Range<usize>> = match self.text.as_bytes()[span.start] {
                b'{' if !self.is_special(&span) => {
                    self.members_of(&span).into_iter().flatten().map(|member| member.value).collect()
                }
                b'[' => Elements::of(self.text.as_bytes(), span.start).collect(),
                _ => {
                    found.push(span);
                    continue;
                }
            };
            open.extend(within.into_iter().rev());
        }
        found
    }

    /// The names of all members in a value, at any depth; none of what JSON cannot hold.
    pub fn names(&self, span: Range<usize>) -> Vec<Cow<'a, str>> {
        let mut found = Vec::new();
        let mut open = vec![span];
        while let Some(span) = open.pop() {
            match self.text.as_bytes()[span.start] {
                b'{' if !self.is_special(&span) => {
                    for Member { key, value } in self.members_of(&span).into_iter().flatten() {
                        found.extend(string(&self.text[key]));
                        open.push(value);
                    }
                }
                b'[' => open.extend(Elements::of(self.text.as_bytes(), span.start)),
                _ => {}
            }
        }
        found
    }

    /// The line with the bytes at each span replaced. The spans are in order and do not overlap.
    pub fn splice(&self, changes: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
        let bytes = self.text.as_bytes();
        let longer: usize = changes.iter().map(|(_, new)| new.len()).sum();
        let mut spliced = Vec::with_capacity(bytes.len() + longer);
        let mut from = 0;
        for (span, new) in changes {
            spliced.extend_from_slice(&bytes[from..span.start]);
            spliced.extend_from_slice(new);
            from = span.end;
        }
        spliced.extend_from_slice(&bytes[from..]);
        spliced
    }

    fn reach(&self, span: Range<usize>, path: &[&str], found: &mut Vec<Range<usize>>) {
        let Some((first, rest)) = path.split_first() else {
            found.push(span);
            return;
        };
        match self.text.as_bytes()[span.start] {
            b'{' => {
                let members = Members::of(self.text.as_bytes(), span.start);
                for member in members.filter(|member| self.is_named(member, first)) {
                    self.reach(member.value, rest, found);
                }
            }
            b'[' => {
                for element in Elements::of(self.text.as_bytes(), span.start) {
                    self.reach(element, path, found);
                }
            }
            _ => {}
        }
    }

    /// The members of the object at `span`; `None` where it is no object.
    fn members_of(&self, span: &Range<usize>) -> Option<Members<'a>> {
        let bytes = self.text.as_bytes();
        (bytes[span.start] == b'{').then(|| Members::of(bytes, span.start))
    }

    fn is_named(&self, member: &Member, name: &str) -> bool {
        string(&self.text[member.key.clone()]).is_some_and(|key| key == name)
    }

    fn is_special(&self, object: &Range<usize>) -> bool {
        let first = self.members_of(object).and_then(|mut members| members.next());
        first.is_some_and(|member| self.text[member.key].starts_with("\"$"))
    }
}

/// The text of a JSON string; `None` of anything else.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    let content = raw.strip_prefix('"')?.strip_suffix('"')?;
    if content.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(content))
}

/// The members of an object of checked syntax.
struct Members<'a> {
    bytes: &'a [u8],
    /// Where the next key begins; the object's end where there is none.
    at: usize,
}

impl<'a> Members<'a> {
    /// Those of the object whose brace is at `start`.
    fn of(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, at: skip_space(bytes, start + 1) }
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        if self.bytes[self.at] != b'"' {
            return None;
        }
        let key = self.at..string_end(self.bytes, self.at);
        let colon = skip_space(self.bytes, key.end);
        let start = skip_space(self.bytes, colon + 1);
        let value = start..value_end(self.bytes, start);
        self.at = behind_comma(self.bytes, value.end);
        Some(Member { key, value })
    }
}

/// The elements of an array of checked syntax.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// Those of the array whose bracket is at `start`.
    fn of(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, at: skip_space(bytes, start + 1) }
    }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.bytes[self.at] == b']' {
            return None;
        }
        let value = self.at..value_end(self.bytes, self.at);
        self.at = behind_comma(self.bytes, value.end);
        Some(value)
    }
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let space = bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    from + space
}

/// Where the next member or element begins behind a value, or the bracket that ends them.
fn behind_comma(bytes: &[u8], value_end: usize) -> usize {
    let at = skip_space(bytes, value_end);
    if bytes[at] == b',' { skip_space(bytes, at + 1) } else { at }
}

/// Behind the closing quote of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        let rest = &bytes[at..];
        let next = memchr::memchr2(b'"', b'\\', rest).expect("the syntax of the line was checked");
        if rest[next] == b'"' {
            return at + next + 1;
        }
        at += next + 2;
    }
}

/// Behind the value that begins at `start`.
fn value_end(bytes: &[u8], start: usize) -> usize {
    match bytes[start] {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => {
            let (mut at, mut depth) = (start, 0_u32);
            loop {
                match bytes[at] {
                    b'"' => {
                        at = string_end(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
        }
        _ => {
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            start + bytes[start..].iter().position(is_end).expect("an object ends with a brace")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const LINE: &str = r#"{"Name":"A \"B\"","_id":"k1", "n":{"x":1.0,"y":[{"z":1},{"z":-0.0},[{"z":2}]]},"b":{"$bytes":"AA=="},"e":[]}"#;

    fn line() -> Line<'static> {
        Line::parse(LINE.as_bytes()).unwrap()
    }

    #[test]
    fn what_lies_at_a_path_is_given_as_it_is_written() {
        let line = line();
        assert_eq!(line.text(&["Name"]).unwrap(), "A \"B\"");
        assert_eq!(line.text(&["_id"]).unwrap(), "k1");
        assert_eq!(line.raw(&["n", "x"]).unwrap(), b"1.0");
        assert_eq!(line.raw(&["b"]).unwrap(), br#"{"$bytes":"AA=="}"#);
        for path in [&["q"][..], &["n", "q"], &["_id", "q"], &["n", "y", "z"], &[]] {
            assert_eq!(line.raw(path), None, "{path:?}");
        }
        assert_eq!(line.text(&["n", "x"]), None);
        let names: Vec<_> = line.fields().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["Name", "_id", "n", "b", "e"]);
    }

    #[test]
    fn a_path_goes_through_every_element_of_an_array() {
        let line = line();
        let found: Vec<_> = line.spans(&["n", "y", "z"]).into_iter().map(|span| &LINE[span]).collect();
        assert_eq!(found, ["1", "-0.0", "2"]);
        assert!(line.spans(&["e", "z"]).is_empty());
        let leaves = line.leaves(line.span(&["n"]).unwrap()).into_iter().map(|span| &LINE[span]);
        assert_eq!(leaves.collect::<Vec<_>>(), ["1.0", "1", "-0.0", "2"]);
        assert_eq!(line.leaves(line.span(&["b"]).unwrap()).len(), 1);
    }

    #[test]
    fn the_names_in_a_value_are_those_of_its_members_at_any_depth() {
        let line =
            Line::parse(br#"{"a":{"\u0062":1,"c":[{"d":{"e":null}},2]},"f":{"$bytes":"AA=="}}"#).unwrap();
        let mut names = line.names(line.span(&["a"]).unwrap());
        names.sort();
        assert_eq!(names, ["b", "c", "d", "e"]);
        assert!(line.names(line.span(&["f"]).unwrap()).is_empty());
        assert!(line.names(line.span(&["a", "b"]).unwrap()).is_empty());
    }

    #[test]
    fn splicing_changes_the_spans_and_nothing_else() {
        let line = line();
        let changes: Vec<_> =
            line.spans(&["n", "y", "z"]).into_iter().map(|span| (span, b"null".to_vec())).collect();
        let spliced = String::from_utf8(line.splice(&changes)).unwrap();
        let expected = LINE
            .replace(r#"{"z":1}"#, r#"{"z":null}"#)
            .replace(r#"{"z":-0.0}"#, r#"{"z":null}"#)
            .replace(r#"{"z":2}"#, r#"{"z":null}"#);
        assert_eq!(spliced, expected);
        assert_eq!(line.splice(&[]), LINE.as_bytes());
    }

    #[test]
    fn the_last_of_two_members_with_one_name_counts_and_both_are_found() {
        let line = Line::parse(br#"{"a":1,"a":{"b":2,"b":3}}"#).unwrap();
        assert_eq!(line.raw(&["a", "b"]).unwrap(), b"3");
        assert_eq!(line.spans(&["a"]).len(), 2);
        assert_eq!(line.spans(&["a", "b"]).len(), 2);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (text, problem) in [
            ("", LineProblem::Blank),
            ("[]", LineProblem::NotAnObject),
            ("{", LineProblem::NotJson),
            (r#"{"a":1}x"#, LineProblem::NotJson),
        ] {
            assert_eq!(Line::parse(text.as_bytes()).unwrap_err(), problem, "{text}");
        }
        assert!(Line::parse(b"{ }").unwrap().fields().next().is_none());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\ ]{0,2}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_line_is_seen_as_a_json_library_sees_it(
            members in prop::collection::btree_map("[a-c\"\\\\é]{0,2}", json(), 0..6),
            pretty: bool,
        ) {
            let value = Value::Object(members.clone().into_iter().collect());
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let line = Line::parse(text.as_bytes()).unwrap();
            let seen: Vec<(String, Value)> = line
                .fields()
                .map(|(name, raw)| (name.into_owned(), serde_json::from_slice(raw).unwrap()))
                .collect();
            prop_assert_eq!(&seen, &members.clone().into_iter().collect::<Vec<_>>());
            for (name, value) in &members {
                for (inner, value) in value.as_object().into_iter().flatten() {
                    let raw = line.raw(&[name, inner]).unwrap();
                    prop_assert_eq!(&serde_json::from_slice::<Value>(raw).unwrap(), value);
                }
                let nulls = line.leaves(line.span(&[name]).unwrap());
                let changes: Vec<_> = nulls.into_iter().map(|span| (span, b"0".to_vec())).collect();
                prop_assert!(serde_json::from_slice::<Value>(&line.splice(&changes)).is_ok());
            }
        }
    }
}
