//! Convex values and their three JSON encodings.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::SimulatorError;

/// The fields of a document, in ascending byte order of their names, which is the order they are written in.
pub type Document = BTreeMap<String, Value>;

/// One Convex value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// A signed 64-bit integer (`bigint` in JavaScript).
    Int64(i64),
    /// A double, with every bit kept, those of NaN and -0.0 included.
    Float64(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Text.
    String(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A list of values.
    Array(Vec<Value>),
    /// Named values.
    Object(Document),
}

/// How values are written as JSON (`crates/value/src/{export.rs,json}` of the backend).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `export_json`, used in snapshot ZIPs: a number without point or exponent is an Int64, every other a Float64.
    Export,
    /// `convex_encoded_json`: Int64 as `{"$integer"}`; every plain number is a Float64.
    Encoded,
    /// `json`: for reading by programs, lossy. Int64 and bytes become strings.
    Clean,
}

impl Encoding {
    /// The encoding that a `format` argument asks for; `None` where the backend answers `BadFormat`.
    pub fn from_format(format: &str) -> Option<Self> {
        match format {
            "convex_encoded_json" | "convex_json" => Some(Self::Encoded),
            "json" | "convex_clean_json" => Some(Self::Clean),
            "export_json" => Some(Self::Export),
            _ => None,
        }
    }
}

impl Value {
    /// Reads one JSON text.
    ///
    /// In [`Encoding::Export`] an object whose first key starts with `$` is read by the encoded rules. In
    /// [`Encoding::Clean`] every number is a Float64 and a field name that starts with `$` is refused, as the
    /// backend does for tables without the `"uniform"` marker.
    pub fn parse(json: &[u8], encoding: Encoding) -> Result<Self, SimulatorError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        ValueSeed { encoding }
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|error| invalid(&error))
    }

    /// Appends this value as JSON, without white space.
    pub fn write(&self, encoding: Encoding, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(true) => out.extend_from_slice(b"true"),
            Self::Boolean(false) => out.extend_from_slice(b"false"),
            Self::Int64(number) => write_int64(*number, encoding, out),
            Self::Float64(number) => write_float64(*number, encoding, out),
            Self::String(text) => write_string(text, out),
            Self::Bytes(bytes) if encoding == Encoding::Clean => write_string(&STANDARD.encode(bytes), out),
            Self::Bytes(bytes) => write_tagged("$bytes", bytes, out),
            Self::Array(items) => write_array(items, encoding, out),
            Self::Object(fields) => write_document(fields, encoding, out),
        }
    }

    /// This value as a JSON text.
    pub fn to_json(&self, encoding: Encoding) -> String {
        let mut out = Vec::new();
        self.write(encoding, &mut out);
        String::from_utf8(out).expect("only whole strings and ASCII are written")
    }

    /// Makes an object of named values.
    pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a Float64 or Int64 value, as arguments of functions hold either.
    #[expect(clippy::cast_precision_loss, reason = "used for counts and times, which are far below 2^53")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float64(number) => Some(*number),
            Self::Int64(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The fields of an object.
    pub fn as_object(&self) -> Option<&Document> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// The field `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object().and_then(|fields| fields.get(name))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

fn invalid(error: &serde_json::Error) -> SimulatorError {
    let text = error.to_string();
    if !error.is_data() {
        return SimulatorError::InvalidJson { reason: text };
    }
    let reason = text.split_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    SimulatorError::InvalidValue { reason: reason.to_owned() }
}

/// Appends the fields of a document as one JSON object.
pub fn write_document(fields: &Document, encoding: Encoding, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        value.write(encoding, out);
    }
    out.push(b'}');
}

fn write_array(items: &[Value], encoding: Encoding, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write(encoding, out);
    }
    out.push(b']');
}

fn write_int64(number: i64, encoding: Encoding, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Export => out.extend_from_slice(number.to_string().as_bytes()),
        Encoding::Encoded => write_tagged("$integer", &number.to_le_bytes(), out),
        Encoding::Clean => write_string(&number.to_string(), out),
    }
}

fn write_float64(number: f64, encoding: Encoding, out: &mut Vec<u8>) {
    let negative_zero = number == 0.0 && number.is_sign_negative();
    if number.is_finite() && !(negative_zero && encoding == Encoding::Encoded) {
        // The backend writes no `+` before an exponent: `1e16`.
        let text = serde_json::to_string(&number).expect("a finite number is JSON");
        out.extend(text.bytes().filter(|byte| *byte != b'+'));
    } else if encoding != Encoding::Clean {
        write_tagged("$float", &number.to_le_bytes(), out);
    } else if number.is_nan() {
        write_string("NaN", out);
    } else {
        write_string(if number > 0.0 { "Infinity" } else { "-Infinity" }, out);
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is written to memory");
}

fn write_tagged(tag: &str, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"{tag}\":\"{}\"}}", STANDARD.encode(bytes)).as_bytes());
}

#[derive(Clone, Copy)]
struct ValueSeed {
    encoding: Encoding,
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Convex value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "the encoding says that a plain number is a double")]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(match self.encoding {
            Encoding::Export => Value::Int64(value),
            Encoding::Encoded | Encoding::Clean => Value::Float64(value as f64),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "integers that do not fit an Int64 are doubles")]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Ok(Value::Float64(value as f64)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float64(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Document::new();
        let mut first = true;
        while let Some(name) = fields.next_key::<String>()? {
            if name.starts_with('$') {
                let tagged = first && self.encoding != Encoding::Clean;
                return if tagged { read_tagged(&name, fields) } else { Err(reserved(&name)) };
            }
            first = false;
            // A repeated name keeps its last value, as the backend does.
            object.insert(name, fields.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

fn reserved<E: de::Error>(name: &str) -> E {
    E::custom(format!("Field name {name} starts with '$', which is reserved."))
}

fn read_tagged<'de, A: MapAccess<'de>>(tag: &str, mut fields: A) -> Result<Value, A::Error> {
    let text: String = fields.next_value()?;
    if fields.next_key::<String>()?.is_some() {
        return Err(de::Error::custom(format!("an object with {tag} has no other field")));
    }
    let bytes = STANDARD.decode(&text).map_err(|_| de::Error::custom(format!("{tag} is not base64")))?;
    let eight = || {
        <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| de::Error::custom(format!("{tag} is not 8 bytes")))
    };
    match tag {
        "$integer" => Ok(Value::Int64(i64::from_le_bytes(eight()?))),
        "$float" => Ok(Value::Float64(f64::from_le_bytes(eight()?))),
        "$bytes" => Ok(Value::Bytes(bytes)),
        _ => Err(reserved(tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Value};

    fn rewritten(json: &str, from: Encoding, to: Encoding) -> String {
        Value::parse(json.as_bytes(), from).unwrap().to_json(to)
    }

    #[test]
    fn each_encoding_writes_numbers_its_own_way() {
        let cases = [
            ("5", "5", r#"{"$integer":"BQAAAAAAAAA="}"#, r#""5""#),
            ("-1", "-1", r#"{"$integer":"//////////8="}"#, r#""-1""#),
            (
                "9223372036854775807",
                "9223372036854775807",
                r#"{"$integer":"/////////38="}"#,
                r#""9223372036854775807""#,
            ),
            ("1.0", "1.0", "1.0", "1.0"),
            ("1e16", "1e16", "1e16", "1e16"),
            ("1e15", "1000000000000000.0", "1000000000000000.0", "1000000000000000.0"),
            ("-0", "-0.0", r#"{"$float":"AAAAAAAAAIA="}"#, "-0.0"),
            (
                r#"{"$float":"AAAAAAAA+H8="}"#,
                r#"{"$float":"AAAAAAAA+H8="}"#,
                r#"{"$float":"AAAAAAAA+H8="}"#,
                r#""NaN""#,
            ),
            (
                r#"{"$float":"AAAAAAAA8P8="}"#,
                r#"{"$float":"AAAAAAAA8P8="}"#,
                r#"{"$float":"AAAAAAAA8P8="}"#,
                r#""-Infinity""#,
            ),
            (r#"{"$bytes":"AQI="}"#, r#"{"$bytes":"AQI="}"#, r#"{"$bytes":"AQI="}"#, r#""AQI=""#),
        ];
        for (json, export, encoded, clean) in cases {
            assert_eq!(rewritten(json, Encoding::Export, Encoding::Export), export);
            assert_eq!(rewritten(json, Encoding::Export, Encoding::Encoded), encoded);
            assert_eq!(rewritten(json, Encoding::Export, Encoding::Clean), clean);
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_becomes_a_float_and_beyond_doubles_is_refused() {
        assert_eq!(
            rewritten("9223372036854775808", Encoding::Export, Encoding::Export),
            "9.223372036854776e18"
        );
        assert!(Value::parse(b"1e400", Encoding::Export).is_err());
    }

    #[test]
    fn keys_are_written_in_byte_order() {
        let json = r#"{"b":1,"_id":"x","_creationTime":1.5,"Z":null,"a":[true,{}]}"#;
        assert_eq!(
            rewritten(json, Encoding::Export, Encoding::Export),
            r#"{"Z":null,"_creationTime":1.5,"_id":"x","a":[true,{}],"b":1}"#
        );
    }

    #[test]
    fn without_the_uniform_marker_dollar_fields_are_refused() {
        let error = Value::parse(br#"{"a":{"$integer":"BQAAAAAAAAA="}}"#, Encoding::Clean).unwrap_err();
        assert!(
            error.to_string().contains("Field name $integer starts with '$', which is reserved."),
            "{error}"
        );
    }

    #[test]
    fn plain_numbers_are_floats_outside_of_exports() {
        assert_eq!(Value::parse(b"7", Encoding::Encoded).unwrap(), Value::Float64(7.0));
        assert_eq!(Value::parse(b"7", Encoding::Clean).unwrap(), Value::Float64(7.0));
    }
}
