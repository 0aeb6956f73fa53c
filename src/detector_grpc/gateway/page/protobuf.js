// As much of protobuf's encoding as the page's messages need. Values are plain objects with the contract's field names.
import { MESSAGES } from "./messages.js";

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const text = new TextEncoder();
const fromText = new TextDecoder();

/** Bytes of a message, as chunks, so that a picture is not copied once for every message around it. */
export function encode(type, value) {
  const chunks = [];
  for (const [name, [number, fieldType]] of Object.entries(MESSAGES[type])) {
    if (value[name] !== undefined) {
      chunks.push(...encodeField(number, fieldType, value[name]));
    }
  }
  return chunks;
}

/** Number of bytes of chunks. */
export function sizeOf(chunks) {
  return chunks.reduce((size, chunk) => size + chunk.length, 0);
}

/** The message in bytes. Fields that are not sent have protobuf's defaults; fields that are not known are left out. */
export function decode(type, bytes) {
  const fields = MESSAGES[type];
  const byNumber = new Map(Object.entries(fields).map(([name, [number, ...rest]]) => [number, [name, ...rest]]));
  const message = defaults(fields);
  const reader = new Reader(bytes);
  while (!reader.atEnd) {
    const tag = reader.varint();
    const value = reader.value(tag % 8);
    const [name, fieldType, repeated] = byNumber.get(Math.floor(tag / 8)) ?? [];
    if (repeated) {
      message[name].push(decodeValue(fieldType, value));
    } else if (name) {
      message[name] = decodeValue(fieldType, value);
    }
  }
  return message;
}

function encodeField(number, type, value) {
  switch (type) {
    case "string":
      return lengthDelimited(number, [text.encode(value)]);
    case "bytes":
      return lengthDelimited(number, [value]);
    case "int32":
      return [varint(number * 8 + VARINT), varint(value)];
    case "float": {
      const data = new DataView(new ArrayBuffer(4));
      data.setFloat32(0, value, true);
      return [varint(number * 8 + FIXED32), new Uint8Array(data.buffer)];
    }
    default:
      return lengthDelimited(number, encode(type, value));
  }
}

function lengthDelimited(number, chunks) {
  return [varint(number * 8 + BYTES), varint(sizeOf(chunks)), ...chunks];
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) {
    bytes.push((value % 128) + 128);
  }
  return Uint8Array.of(...bytes, value);
}

function defaults(fields) {
  const zero = { string: "", int32: 0, int64: 0, float: 0 };
  return Object.fromEntries(
    Object.entries(fields).map(([name, [, type, repeated]]) => [name, repeated ? [] : (zero[type] ?? null)]),
  );
}

function decodeValue(type, value) {
  switch (type) {
    case "string":
      return fromText.decode(value);
    case "float":
      return new DataView(value.buffer, value.byteOffset, 4).getFloat32(0, true);
    case "bytes":
    case "int32":
    case "int64":
      return value;
    default:
      return decode(type, value);
  }
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.position = 0;
  }

  get atEnd() {
    return this.position >= this.bytes.length;
  }

  // Numbers above 2^53 lose their last digits, and negative ones come out as large ones; the page reads neither.
  varint() {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const [byte] = this.take(1);
      value += (byte % 128) * factor;
      if (byte < 128) {
        return value;
      }
    }
  }

  value(wireType) {
    switch (wireType) {
      case VARINT:
        return this.varint();
      case FIXED64:
        return this.take(8);
      case FIXED32:
        return this.take(4);
      case BYTES:
        return this.take(this.varint());
      default:
        throw new Error(`the answer is no message: wire type ${wireType}`);
    }
  }

  take(count) {
    const end = this.position + count;
    if (end > this.bytes.length) {
      throw new Error("the answer is no message: it ends early");
    }
    const taken = this.bytes.subarray(this.position, end);
    this.position = end;
    return taken;
  }
}
