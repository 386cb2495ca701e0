/**
 * CBOR (RFC 8949), as much of it as signed messages and receipts need: definite lengths, integers of
 * 53 bits, no floats. What is longer, deeper or other than that is refused.
 */

import { concat, utf8 } from "./bytes.js";

const DEPTH_MAX = 16;

export class Tagged {
  constructor(tag, value) {
    this.tag = tag;
    this.value = value;
  }
}

function head(major, value) {
  const first = major << 5;
  if (value < 24) return Uint8Array.of(first | value);
  if (value < 0x100) return Uint8Array.of(first | 24, value);
  if (value < 0x10000) return Uint8Array.of(first | 25, value >> 8, value & 255);
  const wide = new DataView(new ArrayBuffer(value < 0x100000000 ? 4 : 8));
  if (wide.byteLength === 4) wide.setUint32(0, value);
  else wide.setBigUint64(0, BigInt(value));
  return concat(Uint8Array.of(first | (wide.byteLength === 4 ? 26 : 27)), new Uint8Array(wide.buffer));
}

/** Numbers, texts, byte arrays, null, booleans, arrays, `Map`s (in their order) and `Tagged`. */
export function encode(value) {
  if (value === null) return Uint8Array.of(0xf6);
  if (typeof value === "boolean") return Uint8Array.of(value ? 0xf5 : 0xf4);
  if (Number.isSafeInteger(value)) return value < 0 ? head(1, -1 - value) : head(0, value);
  if (typeof value === "string") return concat(head(3, utf8(value).length), utf8(value));
  if (value instanceof Uint8Array) return concat(head(2, value.length), value);
  if (Array.isArray(value)) return concat(head(4, value.length), ...value.map(encode));
  if (value instanceof Tagged) return concat(head(6, value.tag), encode(value.value));
  if (value instanceof Map) {
    return concat(head(5, value.size), ...Array.from(value, ([k, v]) => concat(encode(k), encode(v))));
  }
  throw new TypeError(`CBOR cannot hold ${typeof value}`);
}

class Reader {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.at = 0;
  }

  take(size) {
    if (size > this.data.length - this.at) throw new TypeError("CBOR ends too early");
    this.at += size;
    return this.data.subarray(this.at - size, this.at);
  }

  length(info) {
    if (info < 24) return info;
    const size = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    if (size === undefined) throw new TypeError("CBOR of indefinite length");
    const at = this.at;
    this.take(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at);
    if (size === 4) return this.view.getUint32(at);
    const wide = this.view.getBigUint64(at);
    if (wide > BigInt(Number.MAX_SAFE_INTEGER)) throw new TypeError("CBOR with a number that is too large");
    return Number(wide);
  }

  value(depth) {
    if (depth > DEPTH_MAX) throw new TypeError("CBOR is nested too deeply");
    const [first] = this.take(1);
    const major = first >> 5;
    if (major === 7) {
      if (first === 0xf4 || first === 0xf5) return first === 0xf5;
      if (first === 0xf6) return null;
      throw new TypeError("CBOR with a float or a simple value");
    }
    const count = this.length(first & 31);
    if (major === 0) return count;
    if (major === 1) return -1 - count;
    if (major === 2) return this.take(count).slice();
    if (major === 3) return new TextDecoder("utf-8", { fatal: true }).decode(this.take(count));
    if (major === 6) return new Tagged(count, this.value(depth + 1));
    if (count > this.data.length) throw new TypeError("CBOR ends too early");
    if (major === 4) return Array.from({ length: count }, () => this.value(depth + 1));
    const map = new Map();
    for (let i = 0; i < count; i++) {
      const key = this.value(depth + 1);
      if (map.has(key)) throw new TypeError("CBOR with a key twice");
      map.set(key, this.value(depth + 1));
    }
    return map;
  }
}

/** The one value that these bytes are. */
export function decode(data) {
  const reader = new Reader(data);
  const value = reader.value(0);
  if (reader.at !== data.length) throw new TypeError("something follows the CBOR");
  return value;
}
