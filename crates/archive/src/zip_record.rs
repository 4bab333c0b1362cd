//! The records of a ZIP (PKWARE APPNOTE 4.3), as [`crate::ZipWriter`] writes them.

use bytes::{BufMut as _, BytesMut};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    record::{CENTRAL, DESCRIPTOR, END, LOCAL, LOCATOR, ZIP64_END},
    zip_writer::ZipEntry,
};

/// Names are UTF-8 (bit 11).
const FLAGS: u16 = 1 << 11;
/// Sizes and CRC follow the data (bit 3).
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The version of the specification that has zip64.
const VERSION: u16 = 45;
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const REGULAR_FILE: u32 = 0o100_000;
const DEFAULT_MODE: u32 = 0o644;
/// The earliest date that a ZIP can say: 1980-01-01, 00:00.
const NO_DATE: (u16, u16) = (0, 1 << 5 | 1);
/// Stands in a 32-bit field for a value that is in the zip64 extra field.
const IN_ZIP64: u32 = u32::MAX;

const EXTRA_ZIP64: u16 = 0x0001;
/// Modification time, seconds since 1970: Info-ZIP's *UT*.
const EXTRA_TIME: u16 = 0x5455;
/// Owner and group: Info-ZIP's *ux*.
const EXTRA_OWNER: u16 = 0x7875;

/// What is known of an entry once it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) crc32: u32,
    pub(crate) compressed_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// The part of an entry's headers that is the same in both.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    flags: u16,
    method: u16,
    time: u16,
    date: u16,
    name: Vec<u8>,
    mode: u32,
    /// Extra fields beside zip64.
    extra: Vec<u8>,
}

impl Header {
    /// The header of `entry`, with a descriptor behind the data where the sizes are not known before.
    pub(crate) fn new(entry: &ZipEntry<'_>, method: u16, has_descriptor: bool) -> Self {
        let (time, date) = entry.modified.map_or(NO_DATE, dos_time);
        let mut extra = Vec::new();
        if let Some(seconds) = entry.modified.and_then(|time| i32::try_from(time.as_second()).ok()) {
            extra.put_u16_le(EXTRA_TIME);
            extra.put_u16_le(5);
            extra.put_u8(1);
            extra.put_i32_le(seconds);
        }
        if let Some((user, group)) = entry.owner {
            extra.put_u16_le(EXTRA_OWNER);
            extra.put_u16_le(11);
            extra.put_u8(1);
            for id in [user, group] {
                extra.put_u8(4);
                extra.put_u32_le(id);
            }
        }
        Self {
            flags: if has_descriptor { FLAGS | FLAG_DESCRIPTOR } else { FLAGS },
            method,
            time,
            date,
            name: entry.name.as_bytes().to_vec(),
            mode: REGULAR_FILE | (entry.mode.unwrap_or(DEFAULT_MODE) & 0o7777),
            extra,
        }
    }

    /// The header before the data. `whole` is `None` where a descriptor follows the data.
    pub(crate) fn put_local(&self, whole: Option<Whole>, out: &mut BytesMut) {
        let sizes = whole.map_or([0, 0], |whole| [whole.size_bytes, whole.compressed_bytes]);
        // A descriptor has sizes of 8 bytes if and only if the zip64 field is here, and both values must be in it.
        let wide = whole.is_none() || sizes.iter().any(|size| narrow(*size) == IN_ZIP64);
        let zip64 = if wide { zip64_field(&sizes) } else { Vec::new() };
        let [size, compressed] = sizes.map(|size| if wide { IN_ZIP64 } else { narrow(size) });
        out.put_slice(&LOCAL);
        out.put_u16_le(VERSION);
        self.put_common(whole.map_or(0, |whole| whole.crc32), compressed, size, zip64.len(), out);
        out.put_slice(&self.name);
        out.put_slice(&zip64);
        out.put_slice(&self.extra);
    }

    /// The entry's line of the directory.
    pub(crate) fn put_central(&self, whole: Whole, offset: u64, out: &mut Vec<u8>) {
        let values = [whole.size_bytes, whole.compressed_bytes, offset];
        let wide: Vec<u64> = values.into_iter().filter(|value| narrow(*value) == IN_ZIP64).collect();
        let zip64 = zip64_field(&wide);
        out.put_slice(&CENTRAL);
        out.put_u16_le(MADE_BY_UNIX);
        out.put_u16_le(VERSION);
        self.put_common(
            whole.crc32,
            narrow(whole.compressed_bytes),
            narrow(whole.size_bytes),
            zip64.len(),
            out,
        );
        // Comment, disk and internal attributes: none.
        out.put_slice(&[0; 6]);
        out.put_u32_le(self.mode << 16);
        out.put_u32_le(narrow(offset));
        out.put_slice(&self.name);
        out.put_slice(&zip64);
        out.put_slice(&self.extra);
    }

    fn put_common(&self, crc32: u32, compressed: u32, size: u32, zip64: usize, out: &mut impl bytes::BufMut) {
        let lengths = [self.name.len(), self.extra.len() + zip64];
        let [name, extra] = lengths.map(|length| u16::try_from(length).expect("the writer checked the name"));
        for value in [self.flags, self.method, self.time, self.date] {
            out.put_u16_le(value);
        }
        for value in [crc32, compressed, size] {
            out.put_u32_le(value);
        }
        out.put_u16_le(name);
        out.put_u16_le(extra);
    }
}

/// The zip64 extra field with these values; nothing where there are none.
fn zip64_field(values: &[u64]) -> Vec<u8> {
    let mut field = Vec::new();
    if !values.is_empty() {
        field.put_u16_le(EXTRA_ZIP64);
        field.put_u16_le(u16::try_from(8 * values.len()).expect("there are three values at most"));
        for value in values {
            field.put_u64_le(*value);
        }
    }
    field
}

/// The value, or what stands for one that does not fit.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(IN_ZIP64)
}

/// Behind the data of an entry whose sizes were not known before.
pub(crate) fn put_descriptor(whole: Whole, out: &mut BytesMut) {
    out.put_slice(&DESCRIPTOR);
    out.put_u32_le(whole.crc32);
    out.put_u64_le(whole.compressed_bytes);
    out.put_u64_le(whole.size_bytes);
}

/// The end of the ZIP, behind a directory of `entries` lines and `bytes` bytes at `offset`.
pub(crate) fn put_end(entries: u64, bytes: u64, offset: u64, out: &mut BytesMut) {
    let short = u16::try_from(entries).unwrap_or(u16::MAX);
    if short == u16::MAX || [bytes, offset].iter().any(|value| narrow(*value) == IN_ZIP64) {
        out.put_slice(&ZIP64_END);
        out.put_u64_le(44);
        out.put_u16_le(MADE_BY_UNIX);
        out.put_u16_le(VERSION);
        out.put_u64_le(0);
        for value in [entries, entries, bytes, offset] {
            out.put_u64_le(value);
        }
        out.put_slice(&LOCATOR);
        out.put_u32_le(0);
        out.put_u64_le(offset + bytes);
        out.put_u32_le(1);
    }
    out.put_slice(&END);
    out.put_u32_le(0);
    out.put_u16_le(short);
    out.put_u16_le(short);
    out.put_u32_le(narrow(bytes));
    out.put_u32_le(narrow(offset));
    out.put_u16_le(0);
}

/// A time as DOS writes it, in UTC, to two seconds: time and date.
fn dos_time(time: Timestamp) -> (u16, u16) {
    let civil = time.to_zoned(TimeZone::UTC).datetime();
    let Ok(year @ 0..=127) = u16::try_from(civil.year() - 1980) else { return NO_DATE };
    let [month, day, hour, minute, second] =
        [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(i8::cast_unsigned);
    let time = u16::from(hour) << 11 | u16::from(minute) << 5 | u16::from(second >> 1);
    (time, year << 9 | u16::from(month) << 5 | u16::from(day))
}
