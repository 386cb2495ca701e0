/** Bytes and their texts. */

const encoder = new TextEncoder();

export const utf8 = (text) => encoder.encode(text);

export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function unhex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/i.test(text)) throw new TypeError("not hex");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export const unbase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** The bytes of the first PEM block of a kind ("CERTIFICATE", "PRIVATE KEY"). */
export function unpem(text, kind) {
  const found = new RegExp(`-----BEGIN ${kind}-----([A-Za-z0-9+/=\\s]+)-----END ${kind}-----`).exec(text);
  if (found === null) throw new TypeError(`no ${kind} in PEM`);
  return unbase64(found[1].replace(/\s/g, ""));
}

export const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
