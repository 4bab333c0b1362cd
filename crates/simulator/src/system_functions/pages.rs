//! Pages of long answers, with the caps that make a page end before it is full.

use super::{Call, server_error};
use crate::faults::FaultKind;
use crate::value::{Encoding, Value};

/// A page reads no more than this many rows,
const MAX_ROWS: usize = 10_000;
/// nor this many bytes.
const MAX_BYTES: usize = 5_000_000;
/// Ends the cursor of an empty page under [`FaultKind::ShortPages`], so that the next one is not empty.
const AFTER_EMPTY: char = '+';

/// Where a page starts and how many rows it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    offset: usize,
    rows: usize,
    after_empty: bool,
}

/// One page of `rows`, as `paginationOpts` asks for it. A row is only made when it is on the page.
pub(super) fn page<T>(call: &Call<'_>, rows: &[T], row: impl Fn(&T) -> Value) -> Result<Value, String> {
    let request = request(call)?;
    let is_short = call.state.faults.is_on(FaultKind::ShortPages);
    if is_short && !request.after_empty && request.offset < rows.len() {
        return Ok(answer(Vec::new(), false, format!("{}{AFTER_EMPTY}", request.offset)));
    }
    let wanted = if is_short { request.rows.div_ceil(2) } else { request.rows };
    let mut page = Vec::new();
    let mut bytes = 0;
    for item in rows.iter().skip(request.offset).take(wanted) {
        let value = row(item);
        bytes += value.to_json(Encoding::Encoded).len();
        page.push(value);
        if bytes > MAX_BYTES {
            break;
        }
    }
    let end = request.offset + page.len();
    Ok(answer(page, end >= rows.len(), end.to_string()))
}

fn request(call: &Call<'_>) -> Result<Request, String> {
    let options = call.arguments.get("paginationOpts");
    let rows = options.and_then(|options| options.get("numItems")).and_then(Value::as_f64);
    let rows =
        rows.ok_or_else(|| server_error("ArgumentValidationError: `paginationOpts` needs `numItems`."))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let rows = (rows as usize).clamp(1, MAX_ROWS);
    let cursor = options.and_then(|options| options.get("cursor")).and_then(Value::as_str).unwrap_or("0");
    let (offset, after_empty) =
        cursor.strip_suffix(AFTER_EMPTY).map_or((cursor, false), |offset| (offset, true));
    let offset = offset.parse().map_err(|_| server_error(&format!("InvalidCursor: {cursor}")))?;
    Ok(Request { offset, rows, after_empty })
}

fn answer(page: Vec<Value>, is_done: bool, cursor: String) -> Value {
    Value::object([
        ("page", Value::Array(page)),
        ("isDone", Value::Boolean(is_done)),
        ("continueCursor", cursor.into()),
    ])
}
