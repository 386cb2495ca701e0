/**
 * Certificates (DER), as much of them as it takes to see that one authority signed another's: no dates,
 * no extensions but whether it is an authority. Receipts outlive certificates; who trusts a service certificate trusts its key.
 */

import { equal, hex, sha256, unpem } from "./bytes.js";

const CURVES = {
  "06082a8648ce3d030107": { name: "P-256", size: 32, hash: "SHA-256", alg: -7 },
  "06052b81040022": { name: "P-384", size: 48, hash: "SHA-384", alg: -35 },
  "06052b81040023": { name: "P-521", size: 66, hash: "SHA-512", alg: -36 },
};
const BASIC_CONSTRAINTS = "0603551d13";
const EXTENSIONS = 0xa3;
const BOOLEAN = 1;
const SIGNED_WITH = {
  "06082a8648ce3d040302": "SHA-256",
  "06082a8648ce3d040303": "SHA-384",
  "06082a8648ce3d040304": "SHA-512",
};

/** One element of DER at an offset: its tag, its whole, its content, and what comes after it. */
function element(data, at = 0) {
  let size = data[at + 1];
  let start = at + 2;
  if (size > 0x80 && size <= 0x84) {
    start += size - 0x80;
    size = data.subarray(at + 2, start).reduce((sum, byte) => sum * 256 + byte, 0);
  } else if (!(size < 0x80)) throw new TypeError("malformed DER");
  const end = start + size;
  if (end > data.length) throw new TypeError("DER ends too early");
  return { tag: data[at], whole: data.subarray(at, end), content: data.subarray(start, end), end };
}

function elements(data) {
  const found = [];
  for (let at = 0; at < data.length; at = found.at(-1).end) found.push(element(data, at));
  return found;
}

/** Whether the basic constraints among extensions say that this is an authority (RFC 5280 4.2.1.9). */
function isAuthority(extensions) {
  return elements(extensions.content).some((extension) => {
    const parts = elements(extension.content);
    if (hex(parts[0].whole) !== BASIC_CONSTRAINTS) return false;
    const [first] = elements(element(parts.at(-1).content).content);
    return first !== undefined && first.tag === BOOLEAN && first.content[0] === 0xff;
  });
}

const bits = (part) => part.content.subarray(1);

/** The curve of a SubjectPublicKeyInfo, or of a private key in PKCS#8, by its algorithm. */
export function curveOf(algorithm) {
  const [, parameters] = elements(algorithm.content);
  const curve = parameters && CURVES[hex(parameters.whole)];
  if (!curve) throw new TypeError("a key on a curve other than P-256, P-384 and P-521");
  return curve;
}

/** What a private key in PKCS#8 (DER) is on. */
export const curveOfPrivateKey = (der) => curveOf(elements(element(der).content)[1]);

/** r and s of a signature in DER, side by side. */
export function rawSignature(der, size) {
  const numbers = elements(element(der).content);
  if (numbers.length !== 2) throw new TypeError("malformed signature");
  const raw = new Uint8Array(2 * size);
  numbers.forEach((number, i) => {
    const digits = number.content[0] === 0 ? number.content.subarray(1) : number.content;
    if (digits.length > size) throw new TypeError("malformed signature");
    raw.set(digits, (i + 1) * size - digits.length);
  });
  return raw;
}

export class PublicKey {
  constructor(spki) {
    this.spki = spki;
    this.curve = curveOf(elements(element(spki).content)[0]);
  }

  /** Hex SHA-256 of the key, by which nodes and services are called. */
  async id() {
    return hex(await sha256(this.spki));
  }

  /** Whether this is a signature, raw or in DER, over data with a hash. */
  async verify(signature, data, hash = this.curve.hash, form = "raw") {
    const raw = form === "der" ? rawSignature(signature, this.curve.size) : signature;
    if (raw.length !== 2 * this.curve.size) return false;
    const algorithm = { name: "ECDSA", namedCurve: this.curve.name };
    const key = await crypto.subtle.importKey("spki", this.spki, algorithm, false, ["verify"]);
    return crypto.subtle.verify({ name: "ECDSA", hash }, key, raw, data);
  }
}

export class Certificate {
  constructor(der) {
    this.der = der;
    const [tbs, algorithm, signature] = elements(element(der).content);
    const fields = elements(tbs.content);
    if (fields[0].tag === 0xa0) fields.shift(); // the version
    const [, , issuer, , subject, key, ...more] = fields;
    this.signed = tbs.whole;
    this.hash = SIGNED_WITH[hex(elements(algorithm.content)[0].whole)];
    this.signature = bits(signature);
    this.issuer = issuer.whole;
    this.subject = subject.whole;
    this.key = new PublicKey(key.whole);
    this.isAuthority = more.some((part) => part.tag === EXTENSIONS && isAuthority(element(part.content)));
  }

  /** The first certificate of a PEM text. */
  static parse(pem) {
    return new Certificate(unpem(pem, "CERTIFICATE"));
  }

  /** Hex SHA-256 of the whole, by which members and users are called. */
  async fingerprint() {
    return hex(await sha256(this.der));
  }

  /** Whether another certificate, an authority's, signed this one, or both are the same. */
  async isEndorsedBy(other) {
    if (!other.isAuthority) return false;
    if (equal(this.der, other.der)) return true;
    if (this.hash === undefined || !equal(this.issuer, other.subject)) return false;
    return other.key.verify(this.signature, this.signed, this.hash, "der");
  }
}
