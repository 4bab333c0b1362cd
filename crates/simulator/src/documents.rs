//! [`Documents`]: the documents of a table, each as its line of an export, which takes a fifth of the memory.

use std::collections::BTreeMap;

use crate::value::{Document, Encoding, Value, write_document};

/// The documents of a table by internal ID. Each is kept as an export writes it, so that exporting them is copying.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents(BTreeMap<[u8; 16], Box<[u8]>>);

impl Documents {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their internal IDs, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8; 16]> {
        self.0.keys()
    }

    /// All of them, in order.
    pub fn values(&self) -> impl Iterator<Item = Document> {
        self.0.values().map(|line| document(line))
    }

    /// All of them with their internal IDs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 16], Document)> {
        self.0.iter().map(|(internal, line)| (internal, document(line)))
    }

    /// Their lines in an export, in order, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(AsRef::as_ref)
    }

    /// Whether there is one with this internal ID.
    pub fn contains_key(&self, internal: &[u8; 16]) -> bool {
        self.0.contains_key(internal)
    }

    /// The one with this internal ID.
    pub fn get(&self, internal: &[u8; 16]) -> Option<Document> {
        self.0.get(internal).map(|line| document(line))
    }

    /// Puts one in place, be it instead of another.
    pub fn insert(&mut self, internal: [u8; 16], document: &Document) {
        let mut line = Vec::new();
        write_document(document, Encoding::Export, &mut line);
        self.0.insert(internal, line.into_boxed_slice());
    }

    /// Removes one. False where there is none.
    pub fn remove(&mut self, internal: &[u8; 16]) -> bool {
        self.0.remove(internal).is_some()
    }
}

fn document(line: &[u8]) -> Document {
    match Value::parse(line, Encoding::Export) {
        Ok(Value::Object(document)) => document,
        _ => unreachable!("only documents are put here"),
    }
}

#[cfg(test)]
mod tests {
    use super::Documents;
    use crate::value::{Document, Value};

    #[test]
    fn a_document_comes_back_with_every_bit_of_its_numbers() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0123);
        let fields = [
            ("float", Value::Float64(7.0)),
            ("integer", Value::Int64(i64::MIN)),
            ("zero", Value::Float64(-0.0)),
            ("bytes", Value::Bytes(vec![0, 255])),
            ("nested", Value::Array(vec![Value::Null, Value::from("ł\n")])),
        ];
        let mut document: Document = fields.map(|(name, value)| (name.to_owned(), value)).into();
        let mut documents = Documents::default();
        documents.insert([1; 16], &document);
        assert_eq!(documents.get(&[1; 16]).unwrap(), document);
        document.insert("nan".to_owned(), Value::Float64(nan));
        documents.insert([1; 16], &document);
        let back = documents.values().next().unwrap();
        assert!(matches!(back["nan"], Value::Float64(number) if number.to_bits() == nan.to_bits()));
        assert!(documents.remove(&[1; 16]) && !documents.remove(&[1; 16]) && documents.is_empty());
    }
}
