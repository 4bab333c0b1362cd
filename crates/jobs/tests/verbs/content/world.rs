//! A deployment with everything that rules have to do with, made of a number.

use std::io::{Cursor, Write as _};

use base64::Engine as _;
use bytes::Bytes;
use convault_core::{Sha256, TableRef};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Numbers that are the same for the same seed (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(super) fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) tables: Vec<MadeTable>,
    pub(super) files: Vec<File>,
}

#[derive(Debug)]
pub(super) struct MadeTable {
    pub(super) table: TableRef,
    number: u64,
    pub(super) is_old: bool,
    pub(super) documents: Vec<Document>,
    /// What stands behind the documents.
    pub(super) tail: String,
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) id: String,
    number: u64,
    /// JSON, or nothing where the field is missing.
    pub(super) secret: Option<String>,
    pub(super) tags: Vec<String>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) component: String,
    pub(super) id: String,
    pub(super) content: String,
    content_type: Option<&'static str>,
}

/// An id as the backend makes them: the table's number, 16 bytes, and a sum.
fn id(table_number: u64, random: &mut Random) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = Vec::new();
    let mut left = table_number;
    while left > 0x7f {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes.extend((0..16).map(|_| u8::try_from(random.below(256)).unwrap()));
    let (mut first, mut second) = (0_u8, 0_u8);
    for byte in &bytes {
        first = first.wrapping_add(*byte);
        second = second.wrapping_add(first);
    }
    bytes.extend([first, second]);
    let bits = bytes.iter().map(|byte| format!("{byte:08b}")).collect::<Vec<_>>().concat();
    let digits = bits.as_bytes().chunks(5).map(|digit| {
        let digit = format!("{:0<5}", std::str::from_utf8(digit).unwrap());
        char::from(ALPHABET[usize::from_str_radix(&digit, 2).unwrap()])
    });
    digits.collect()
}

const SECRETS: [&str; 8] = [
    r#""anna@example.com""#,
    r#""An\n\"na\"é""#,
    "7",
    "7.0",
    "null",
    "true",
    r#"{"$bytes":"AAAA"}"#,
    r#"{"inner":[1,{"deep":"x"},[2.50]]}"#,
];

impl World {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let names = [
            ("", "users"),
            ("", "order_storage"),
            ("mail", "letters"),
            ("mail/inner", "users"),
            ("", "empty"),
        ];
        let tables = names.iter().zip(10_001..).map(|((component, name), number)| {
            let mut documents: Vec<Document> = Vec::new();
            for at in 0..if *name == "empty" { 0 } else { 1 + random.below(20) } {
                let secret = random.below(9);
                documents.push(Document {
                    id: id(number, &mut random),
                    number: at,
                    secret: SECRETS.get(usize::try_from(secret).unwrap()).map(|secret| (*secret).to_owned()),
                    tags: (0..random.below(3)).map(|at| format!("{at}.0")).collect(),
                });
            }
            documents.sort_by(|one, two| one.id.cmp(&two.id));
            MadeTable {
                table: TableRef::new(*component, *name),
                number,
                is_old: false,
                documents,
                tail: String::new(),
            }
        });
        let tables = tables.collect();
        let mut files: Vec<File> = (0..2 + random.below(8))
            .map(|at| File {
                component: if random.one_in(3) { "mail".to_owned() } else { String::new() },
                id: id(540, &mut random),
                content: format!("content of {at}").repeat(1 + usize::try_from(random.below(50)).unwrap()),
                content_type: [None, Some("text/plain"), Some("image/png")]
                    [usize::try_from(random.below(3)).unwrap()],
            })
            .collect();
        files.sort_by(|one, two| one.id.cmp(&two.id));
        Self { tables, files }
    }

    pub(super) fn components() -> [&'static str; 3] {
        ["", "mail", "mail/inner"]
    }

    /// Every entry, in the order of an export.
    pub(super) fn entries(&self) -> Vec<(String, String)> {
        let mut entries = vec![("README.md".to_owned(), "A backup.\n".to_owned())];
        for component in Self::components() {
            let tables = self.tables.iter().filter(|table| table.table.component == component);
            let listed = tables.map(MadeTable::listed).collect();
            entries.push((format!("{}_tables/documents.jsonl", prefix(component)), listed));
        }
        for table in &self.tables {
            let folder = format!("{}{}", prefix(&table.table.component), table.table.table);
            entries.push((format!("{folder}/documents.jsonl"), table.content()));
            entries.push((format!("{folder}/generated_schema.jsonl"), table.schema()));
        }
        for component in Self::components() {
            let files = || self.files.iter().filter(|file| file.component == component);
            let rows = files().map(|file| file.row() + "\n").collect();
            entries.push((format!("{}_storage/documents.jsonl", prefix(component)), rows));
            entries.extend(files().map(|file| (file.entry_name(), file.content.clone())));
        }
        entries
    }

    pub(super) fn zip(&self) -> Bytes {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for (name, content) in self.entries() {
            zip.start_file(name, options).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner().into()
    }
}

pub(super) fn prefix(component: &str) -> String {
    let names = component.split('/').filter(|name| !name.is_empty());
    names.map(|name| format!("_components/{name}/")).collect::<Vec<_>>().concat()
}

impl MadeTable {
    pub(super) fn listed(&self) -> String {
        format!("{{\"name\":\"{}\",\"id\":{}}}\n", self.table.table, self.number)
    }

    fn content(&self) -> String {
        let lines: String = self.documents.iter().map(|document| document.line() + "\n").collect();
        lines + &self.tail
    }

    /// Of an old export, a shape of the table and one of each of its documents.
    fn schema(&self) -> String {
        if !self.is_old {
            return "\"uniform\"\n".to_owned();
        }
        let overrides = self.documents.iter().map(Document::shape);
        "\"{\\\"n\\\": int64}\"\n".to_owned() + &overrides.collect::<String>()
    }
}

impl Document {
    pub(super) fn line(&self) -> String {
        self.line_with(self.secret.as_deref(), &self.tags)
    }

    pub(super) fn line_with(&self, secret: Option<&str>, tags: &[String]) -> String {
        let secret = secret.map(|secret| format!(",\"secret\":{secret}")).unwrap_or_default();
        let tags: Vec<String> = tags.iter().map(|tag| format!("{{\"v\":{tag}}}")).collect();
        format!(
            r#"{{"_creationTime":{}.5,"_id":"{}","big":9223372036854775807,"n":{},"ratio":1.0{secret},"tags":[{}]}}"#,
            self.number,
            self.id,
            self.number,
            tags.join(",")
        )
    }

    pub(super) fn shape(&self) -> String {
        format!("{{\"{}\":{{\"n\":\"int64\"}}}}\n", self.id)
    }
}

impl File {
    pub(super) fn row(&self) -> String {
        let content_type = self.content_type.map_or("null".to_owned(), |text| format!("\"{text}\""));
        format!(
            r#"{{"_id":"{}","_creationTime":1700000000000.0,"sha256":"{}","size":{},"contentType":{content_type},"internalId":"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"}}"#,
            self.id,
            base64::engine::general_purpose::STANDARD.encode(Sha256::of(self.content.as_bytes()).0),
            self.content.len(),
        )
    }

    pub(super) fn entry_name(&self) -> String {
        let ending = match self.content_type {
            Some("text/plain") => ".txt",
            Some("image/png") => ".png",
            _ => "",
        };
        format!("{}_storage/{}{ending}", prefix(&self.component), self.id)
    }
}
