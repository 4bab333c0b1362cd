//! The data of a small company, for the demonstration and for tests: customers, what was said, and what was paid.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::database::Database;
use crate::document_id::DocumentId;
use crate::value::{Document, Value};

/// 1 November 2026, when the company began.
const FIRST_DAY_MS: f64 = 1_793_491_200_000.0;
const DAY_MS: f64 = 86_400_000.0;
const CONTACTS: u32 = 120;
const NAMES: [&str; 12] = [
    "Ada", "Bartosz", "Chiara", "Dmitri", "Émile", "Fatima", "Grace", "Hiroko", "Ines", "Jürgen", "Łucja",
    "Oyelaran",
];
const SURNAMES: [&str; 10] =
    ["Lovelace", "Nowak", "Rossi", "Ivanov", "Dupont", "Haddad", "Hopper", "山田", "Carvalho", "Müller"];
const SENTENCES: [&str; 8] = [
    "Could you send the invoice once more?",
    "Thank you, the delivery came this morning.",
    "The \"large\" box was damaged; see the photograph.",
    "We would like to order the same again.",
    "Please call me after 15:00.\nMy number has changed.",
    "Zażółć gęślą jaźń 😀",
    "The price is agreed.",
    "Who is the right person for returns?",
];

impl Database {
    /// A small company's customers: contacts, conversations, messages, invoices, an empty table, values of every type,
    /// images and PDFs, and a component `waitlist`. The same seed gives the same data.
    pub fn crm(seed: u64) -> Self {
        let mut database = Self::new(seed);
        let contacts: Vec<DocumentId> =
            (0..CONTACTS).map(|number| add_contact(&mut database, number)).collect();
        for (number, contact) in (0..).zip(&contacts) {
            add_conversation(&mut database, number, *contact);
        }
        for (number, contact) in (0..).zip(contacts.iter().step_by(2)) {
            add_invoice(&mut database, number, *contact);
        }
        add_every_type(&mut database);
        database.ensure_table("", "archivedContacts", FIRST_DAY_MS);
        for number in 0..15 {
            let email = format!("waiting{number}@example.org").into();
            let fields = document([("email", email), ("place", Value::Int64(number))]);
            database.insert(
                "waitlist",
                "entries",
                fields,
                FIRST_DAY_MS + f64::from(u8::try_from(number).unwrap_or(0)),
            );
        }
        database.ensure_component("waitlist", FIRST_DAY_MS).mounted = true;
        database.set_environment_variable("MAIL_FROM", Some("office@example.org".to_owned()), FIRST_DAY_MS);
        database
    }

    /// Changes the data of [`Database::crm`] as a day's work does: five new contacts with what was said, changed ones,
    /// one deleted, and a new invoice with its file.
    pub fn apply_day_of_changes(&mut self, now_ms: f64) {
        let known: Vec<DocumentId> = self
            .table("", "contacts")
            .into_iter()
            .flat_map(|table| {
                table
                    .documents
                    .keys()
                    .map(|internal| DocumentId { table_number: table.number, internal: *internal })
            })
            .collect();
        let count = u32::try_from(known.len()).unwrap_or(0);
        for number in count..count + 5 {
            let contact = contact_fields(number);
            let id = self.insert("", "contacts", contact, now_ms + f64::from(number));
            add_conversation(self, number, id);
        }
        for id in known.iter().skip(1).take(10) {
            let called = document([("lastCallMs", Value::Float64(now_ms)), ("stage", "customer".into())]);
            self.patch("", "contacts", *id, called).expect("the contact is known");
        }
        if let Some(first) = known.first() {
            self.delete("", "contacts", *first).expect("the contact is known");
            add_invoice(self, count, *known.last().expect("there is a first one"));
        }
    }
}

fn document<const N: usize>(fields: [(&str, Value); N]) -> Document {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn pick<'a>(texts: &[&'a str], number: u32) -> &'a str {
    texts[number as usize % texts.len()]
}

fn time_ms(number: u32) -> f64 {
    FIRST_DAY_MS + f64::from(number) * 60_123.25
}

fn contact_fields(number: u32) -> Document {
    let name =
        format!("{} {}", pick(&NAMES, number * 7 + number / 12), pick(&SURNAMES, number * 3 + number / 10));
    let address = Value::object([
        ("city", pick(&["Łódź", "Porto", "Kyoto"], number).into()),
        ("zip", format!("{:05}", number * 137).into()),
    ]);
    document([
        ("name", name.into()),
        ("email", format!("contact{number}@example.org").into()),
        ("address", address),
        ("stage", pick(&["lead", "trial", "customer"], number).into()),
        ("score", Value::Float64(f64::from(number) / 4.0)),
        ("visits", Value::Int64(i64::from(number))),
        ("tags", Value::Array(vec![pick(&["red", "green", "blue"], number).into(), Value::Null])),
    ])
}

fn add_contact(database: &mut Database, number: u32) -> DocumentId {
    let mut fields = contact_fields(number);
    if number.is_multiple_of(4) {
        let photograph = png(number);
        let file = database.store_file("", photograph, Some("image/png"), time_ms(number));
        fields.insert("photograph".to_owned(), file.to_string().into());
    }
    database.insert("", "contacts", fields, time_ms(number))
}

fn add_conversation(database: &mut Database, number: u32, contact: DocumentId) {
    let open = Value::Boolean(number.is_multiple_of(3));
    let fields = document([("contact", contact.to_string().into()), ("open", open)]);
    let conversation = database.insert("", "conversations", fields, time_ms(number));
    for part in 0..3 + number % 5 {
        let text = format!("{} ({number}/{part})", pick(&SENTENCES, number + part));
        let fields = document([
            ("conversation", conversation.to_string().into()),
            ("body", text.into()),
            ("fromContact", Value::Boolean(part.is_multiple_of(2))),
            ("order", Value::Int64(i64::from(part))),
        ]);
        database.insert("", "messages", fields, time_ms(number) + f64::from(part) * 1_000.5);
    }
}

fn add_invoice(database: &mut Database, number: u32, contact: DocumentId) {
    let title = format!("Invoice {}", 1_000 + number);
    let created_ms = time_ms(number) + DAY_MS;
    let file = database.store_file("", pdf(&title), Some("application/pdf"), created_ms);
    let fields = document([
        ("contact", contact.to_string().into()),
        ("title", title.into()),
        ("amountCents", Value::Int64(i64::from(number) * 12_345 + 99)),
        ("taxRate", Value::Float64(0.23)),
        ("file", file.to_string().into()),
    ]);
    database.insert("", "invoices", fields, created_ms);
}

/// Values that careless tools change on the way: a table of one of each.
fn add_every_type(database: &mut Database) {
    let values = [
        ("largest integer", Value::Int64(i64::MAX)),
        ("smallest integer", Value::Int64(i64::MIN)),
        ("integer one", Value::Int64(1)),
        ("float one", Value::Float64(1.0)),
        ("negative zero", Value::Float64(-0.0)),
        ("not a number", Value::Float64(f64::NAN)),
        ("infinity", Value::Float64(f64::INFINITY)),
        ("large float", Value::Float64(1e300)),
        ("bytes", Value::Bytes((0..=255).collect())),
        ("no bytes", Value::Bytes(Vec::new())),
        ("controls", "\u{1}\t\n\u{1f}\u{7f}\"\\".into()),
        ("nested", Value::Array(vec![Value::Array(Vec::new()), Value::object([("", Value::Null)])])),
    ];
    for (number, (kind, value)) in (0..).zip(values) {
        database.insert(
            "",
            "everyType",
            document([("kind", kind.into()), ("Value", value)]),
            time_ms(number),
        );
    }
}

/// A PNG image of 16 by 16 pixels in one colour.
fn png(number: u32) -> Vec<u8> {
    const SIDE: usize = 16;
    let [red, green, ..] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    let mut row = vec![0];
    row.extend([red, green, 160].repeat(SIDE));
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::default());
    pixels.write_all(&row.repeat(SIDE)).expect("memory takes whatever is written");
    let pixels = pixels.finish().expect("memory takes whatever is written");
    let mut image = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [0, 0, 0, 16, 0, 0, 0, 16, 8, 2, 0, 0, 0];
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", &pixels), (b"IEND", &[])] {
        let length = u32::try_from(content.len()).expect("the image is small");
        let body = [&kind[..], content].concat();
        image.extend_from_slice(&length.to_be_bytes());
        image.extend_from_slice(&body);
        image.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    }
    image
}

/// A PDF of one page that shows `title`, which must be plain ASCII.
fn pdf(title: &str) -> Vec<u8> {
    let text = format!("BT /F1 24 Tf 72 720 Td ({title}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(format!("{:010} 00000 n \n", file.len()));
        file.extend(format!("{number} 0 obj\n{object}\nendobj\n").bytes());
    }
    let (start, count) = (file.len(), objects.len() + 1);
    let table = format!("xref\n0 {count}\n0000000000 65535 f \n{}", offsets.concat());
    file.extend(
        format!("{table}trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").bytes(),
    );
    file
}

#[cfg(test)]
mod tests {
    use super::{FIRST_DAY_MS, pdf, png};
    use crate::database::Database;

    #[test]
    fn a_day_changes_adds_and_deletes() {
        let mut database = Database::crm(7);
        let before = database.clone();
        database.apply_day_of_changes(FIRST_DAY_MS * 1.001);
        let contacts = |database: &Database| database.table("", "contacts").unwrap().documents.clone();
        let (old, new) = (contacts(&before), contacts(&database));
        assert_eq!((old.len(), new.len()), (120, 124));
        assert_eq!(old.keys().filter(|id| !new.contains_key(id)).count(), 1);
        let changed = old.iter().filter(|(id, fields)| new.get(id).is_some_and(|now| now != *fields)).count();
        assert_eq!(changed, 10);
        let files = |database: &Database| database.component("").unwrap().files().len();
        assert_eq!(files(&database), files(&before) + 1);
    }

    #[test]
    fn the_same_seed_gives_the_same_company() {
        let names = |seed| Database::crm(seed).table("", "contacts").unwrap().documents.clone();
        assert_eq!(names(3), names(3));
        assert!(names(3).keys().ne(names(4).keys()));
    }

    #[test]
    fn images_and_documents_have_their_magic_and_end() {
        assert!(png(1).starts_with(b"\x89PNG") && png(1).windows(4).any(|window| window == b"IEND"));
        let file = String::from_utf8(pdf("Invoice 1")).unwrap();
        let start: usize = file.lines().rev().nth(1).unwrap().parse().unwrap();
        assert!(file[start..].starts_with("xref\n"));
    }
}
