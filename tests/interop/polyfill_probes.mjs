// What functions of `ccf.*` give, as JSON: run in a service's engine and under Node.js with the
// polyfill of @microsoft/ccf-app. `make` has chance in it, `check` depends on its input alone.

import * as converters from "@microsoft/ccf-app/converters.js";
import * as appCrypto from "@microsoft/ccf-app/crypto.js";
import { ccf } from "@microsoft/ccf-app/global.js";
import { rawKv, typedKv, typedKvSet } from "@microsoft/ccf-app/kv.js";

const DATA = bytes("68656c6c6f20c3a9");
const SECRETS = { short: "00ff", aes: "0123456789abcdef".repeat(4), odd: "aa".repeat(33) };

function bytes(hex) {
  return new Uint8Array((hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16))).buffer;
}

function hex(buffer) {
  const view = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  return [...view].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function textBytes(text) {
  return ccf.strToBuf(text);
}

/** A value, or that an error was thrown; its words are each side's own. */
function outcome(call) {
  try {
    const value = call();
    return value === undefined ? "undefined" : value;
  } catch {
    return "throws";
  }
}

const SIGNATURES = {
  rsaPss: ["rsa", { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 }],
  rsaPssNoSalt: ["rsa", { name: "RSA-PSS", hash: "SHA-256" }],
  ecdsa256: ["ec256", { name: "ECDSA", hash: "SHA-256" }],
  ecdsa384: ["ec384", { name: "ECDSA", hash: "SHA-256" }],
  eddsa: ["ed", { name: "EdDSA" }],
};
const WRAPS = {
  oaep: [{ name: "RSA-OAEP" }, "short"],
  oaepLabel: [{ name: "RSA-OAEP", label: textBytes("label") }, "short"],
  kwp: [{ name: "AES-KWP" }, "odd"],
  both: [{ name: "RSA-OAEP-AES-KWP", aesKeySize: 256 }, "odd"],
};

/** Keys, signatures and wrapped keys of this side. */
export function make() {
  const keys = {
    rsa: ccf.crypto.generateRsaKeyPair(2048, 65537),
    ec256: ccf.crypto.generateEcdsaKeyPair("secp256r1"),
    ec384: ccf.crypto.generateEcdsaKeyPair("secp384r1"),
    ed: ccf.crypto.generateEddsaKeyPair("curve25519"),
    x: ccf.crypto.generateEddsaKeyPair("x25519"),
  };
  const signatures = {};
  for (const [name, [key, algorithm]] of Object.entries(SIGNATURES)) {
    signatures[name] = hex(ccf.crypto.sign(algorithm, keys[key].privateKey, DATA));
  }
  const wrapped = {};
  for (const [name, [parameters, secret]] of Object.entries(WRAPS)) {
    const by = name === "kwp" ? bytes(SECRETS.aes) : textBytes(keys.rsa.publicKey);
    wrapped[name] = hex(ccf.crypto.wrapKey(bytes(SECRETS[secret]), by, parameters));
  }
  const sizes = [128, 192, 256].map((size) => ccf.crypto.generateAesKey(size).byteLength);
  return { keys, signatures, wrapped, sizes };
}

/** What this side makes of the material of either, and of a set of certificates. */
export function check({ keys, signatures, wrapped, certificates }) {
  return {
    verify: verified(keys, signatures),
    unwrap: unwrapped(keys, wrapped),
    convert: converted(keys),
    certificates: Object.fromEntries(
      Object.entries(certificates.chains).map(([name, [chain, trusted]]) => [
        name,
        ccf.crypto.isValidX509CertChain(chain, trusted),
      ]),
    ),
    bundles: certificates.bundles.map((pem) => ccf.crypto.isValidX509CertBundle(pem)),
    plain: plain(),
    tables: tables(),
    codecs: codecs(),
  };
}

function verified(keys, signatures) {
  const told = {};
  for (const [name, [key, algorithm]] of Object.entries(SIGNATURES)) {
    const signature = bytes(signatures[name]);
    const other = Object.keys(keys).find((one) => one !== key && one.slice(0, 2) === key.slice(0, 2));
    const check = (pem, data) => ccf.crypto.verifySignature(algorithm, pem, signature, data);
    told[name] = outcome(() => check(keys[key].publicKey, DATA));
    told[`${name} of other data`] = outcome(() => check(keys[key].publicKey, bytes("00")));
    if (other) {
      told[`${name} by another key`] = outcome(() => check(keys[other].publicKey, DATA));
    }
    told[`${name} by the package`] = outcome(() =>
      appCrypto.verifySignature(algorithm, keys[key].publicKey, signature, DATA),
    );
  }
  const hmac = (hash) => hex(ccf.crypto.sign({ name: "HMAC", hash }, "key", DATA));
  told.hmac = ["SHA-256", "SHA-384", "SHA-512"].map(hmac);
  told.eddsaIsDeterministic = hex(
    ccf.crypto.sign({ name: "EdDSA" }, keys.ed.privateKey, bytes("01")),
  );
  return told;
}

function unwrapped(keys, wrapped) {
  const told = {};
  for (const [name, [parameters]] of Object.entries(WRAPS)) {
    const by = name === "kwp" ? bytes(SECRETS.aes) : textBytes(keys.rsa.privateKey);
    told[name] = outcome(() => hex(ccf.crypto.unwrapKey(bytes(wrapped[name]), by, parameters)));
  }
  const spoiled = bytes(wrapped.kwp);
  new Uint8Array(spoiled)[3] ^= 1;
  told.spoiled = outcome(() => ccf.crypto.unwrapKey(spoiled, bytes(SECRETS.aes), WRAPS.kwp[0]));
  return told;
}

const CONVERSIONS = {
  ec256: ["pubPemToJwk", "pemToJwk", "pubJwkToPem", "jwkToPem"],
  ec384: ["pubPemToJwk", "pemToJwk", "pubJwkToPem", "jwkToPem"],
  rsa: ["pubRsaPemToJwk", "rsaPemToJwk", "pubRsaJwkToPem", "rsaJwkToPem"],
  ed: ["pubEddsaPemToJwk", "eddsaPemToJwk", "pubEddsaJwkToPem", "eddsaJwkToPem"],
  x: ["pubEddsaPemToJwk", "eddsaPemToJwk", "pubEddsaJwkToPem", "eddsaJwkToPem"],
};

function converted(keys) {
  const told = {};
  for (const [key, [pubJwk, privJwk, pubPem, privPem]] of Object.entries(CONVERSIONS)) {
    const functions = ccf.crypto;
    const pub = functions[pubJwk](keys[key].publicKey, "my key");
    const priv = functions[privJwk](keys[key].privateKey, "my key");
    told[key] = {
      pub,
      priv,
      withoutKid: functions[pubJwk](keys[key].publicKey),
      pubBack: functions[pubPem](pub).trim() === keys[key].publicKey.trim(),
      privBack: functions[privPem](priv).trim() === keys[key].privateKey.trim(),
      wrong: outcome(() => functions[pubJwk]("no PEM")),
    };
  }
  return told;
}

function plain() {
  const texts = ["", "text", "h\u00e9\u4e16\ud83d\ude00", '"quoted"\n'];
  const values = [null, true, 0, -1.5, 1e21, "x", [], [1, [2]], {}, { b: 1, a: { c: null } }];
  return {
    texts: texts.map((text) => [hex(ccf.strToBuf(text)), ccf.bufToStr(ccf.strToBuf(text))]),
    values: values.map((value) => {
      const buffer = ccf.jsonCompatibleToBuf(value);
      return [hex(buffer), ccf.bufToJsonCompatible(buffer)];
    }),
    noJson: outcome(() => ccf.bufToJsonCompatible(ccf.strToBuf("{"))),
    digests: texts.map((text) => hex(ccf.crypto.digest("SHA-256", ccf.strToBuf(text)))),
    packageDigest: hex(appCrypto.digest("SHA-256", DATA)),
    otherDigest: outcome(() => ccf.crypto.digest("SHA-1", DATA)),
    otherCurve: outcome(() => ccf.crypto.generateEddsaKeyPair("ed448")),
    date: outcome(() => typeof ccf.enableUntrustedDateTime(true)),
    metrics: outcome(() => typeof ccf.enableMetricsLogging(true)),
  };
}

function tables() {
  const table = ccf.kv["polyfill.table"];
  const key = (n) => new Uint8Array([n, 255 - n]).buffer;
  const told = [];
  told.push([table.has(key(1)), table.size, outcome(() => table.get(key(1)))]);
  told.push(table.set(key(1), DATA) === table, hex(table.get(key(1))), table.has(key(1)));
  table.set(key(2), bytes("")).set(key(1), bytes("01"));
  const seen = [];
  table.forEach((value, k) => seen.push([hex(k), hex(value)]));
  told.push(seen.sort(), table.size, outcome(() => table.delete(key(1))), table.has(key(1)));
  told.push(outcome(() => table.delete(key(9))), outcome(() => table.clear()), table.size);
  told.push(ccf.kv["polyfill.other"].size);
  return told;
}

/** The package's own tables with types, over this side's `ccf.kv`. */
function codecs() {
  const told = {};
  const samples = {
    bool: [true, false],
    int8: [-128, 127],
    uint8: [0, 255],
    int16: [-32768, 32767],
    uint16: [0, 65535],
    int32: [-2147483648, 2147483647],
    uint32: [0, 4294967295],
    int64: [-9223372036854775808n, 9223372036854775807n],
    uint64: [0n, 18446744073709551615n],
    float32: [0.5, -2],
    float64: [0.1, 1e300],
    string: ["", "h\u00e9"],
  };
  for (const [name, values] of Object.entries(samples)) {
    const converter = converters[name];
    told[name] = values.map((value) => {
      const encoded = converter.encode(value);
      return [hex(encoded), String(converter.decode(encoded))];
    });
    told[`${name} refuses`] = outcome(() => converter.encode({}));
  }
  const json = converters.json();
  told.json = hex(json.encode({ a: [1] }));
  told.checkedJson = outcome(() => converters.checkedJson().encode(new Date(0)));
  const array = converters.typedArray(Uint16Array);
  told.typedArray = [...array.decode(array.encode(new Uint16Array([1, 65535])))];
  told.arrayBuffer = hex(converters.arrayBuffer.encode(DATA));
  const people = typedKv("polyfill.people", converters.uint32, converters.json());
  people.set(7, { name: "seven" });
  const all = [];
  people.forEach((value, key) => all.push([key, value]));
  told.typedKv = [people.get(7), people.has(8), people.get(8) ?? "undefined", people.size, all];
  people.delete(7);
  const set = typedKvSet("polyfill.set", converters.string);
  set.add("a");
  set.add("a");
  told.typedKvSet = [set.has("a"), set.has("b"), set.size];
  set.clear();
  told.rawKv = rawKv["polyfill.raw"].size;
  return told;
}
