// Prints "<sha256> <size> <name>" for every entry of a snapshot ZIP, sorted by name. Reads the central directory, since
// the sizes in a snapshot's data descriptors are not real.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { inflateRawSync } from "node:zlib";

const zip = readFileSync(process.argv[2]);
const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const UNKNOWN = 0xffffffff;

function directory() {
  let end = zip.length - 22;
  while (end >= 0 && zip.readUInt32LE(end) !== END) end -= 1;
  if (end < 0) throw new Error("not a ZIP: it has no end record");
  const locator = end - 20;
  if (locator >= 0 && zip.readUInt32LE(locator) === LOCATOR_64) {
    const end64 = Number(zip.readBigUInt64LE(locator + 8));
    if (zip.readUInt32LE(end64) !== END_64) throw new Error("its zip64 end record is missing");
    return { count: Number(zip.readBigUInt64LE(end64 + 32)), at: Number(zip.readBigUInt64LE(end64 + 48)) };
  }
  return { count: zip.readUInt16LE(end + 10), at: zip.readUInt32LE(end + 16) };
}

// The true sizes and offset stand in the zip64 extra field wherever the short fields are full.
function entry(at) {
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => zip.readUInt16LE(at + field));
  const name = zip.toString("utf8", at + 46, at + 46 + nameLength);
  const values = [24, 20, 42].map((field) => zip.readUInt32LE(at + field));
  let extra = at + 46 + nameLength;
  const next = extra + extraLength + commentLength;
  while (extra < next - commentLength && zip.readUInt16LE(extra) !== 1) extra += 4 + zip.readUInt16LE(extra + 2);
  extra += 4;
  const [size, packed, offset] = values.map((value) => {
    if (value !== UNKNOWN) return value;
    extra += 8;
    return Number(zip.readBigUInt64LE(extra - 8));
  });
  return { name, size, packed, offset, next, method: zip.readUInt16LE(at + 10) };
}

function content({ offset, packed, method }) {
  const start = offset + 30 + zip.readUInt16LE(offset + 26) + zip.readUInt16LE(offset + 28);
  const bytes = zip.subarray(start, start + packed);
  return method === 0 ? bytes : inflateRawSync(bytes);
}

let { count, at } = directory();
const lines = [];
for (; count > 0; count -= 1) {
  const found = entry(at);
  const bytes = content(found);
  if (bytes.length !== found.size) throw new Error(`${found.name}: ${bytes.length} bytes instead of ${found.size}`);
  lines.push([found.name, `${createHash("sha256").update(bytes).digest("hex")} ${bytes.length} ${found.name}`]);
  at = found.next;
}
lines.sort(([a], [b]) => (a < b ? -1 : 1));
for (const [, line] of lines) console.log(line);
