// The application as callers see it, its tables, and the past.

import { bytesOf } from "./show.js";

// Given by the runner and taken away at once: the application finds the globals of a service only.
const native = globalThis.__pyccf_test;
delete globalThis.__pyccf_test;

function toBytes(value) {
  if (typeof value === "string") {
    return ccf.strToBuf(value);
  }
  const bytes = bytesOf(value);
  if (bytes !== undefined) {
    return bytes.slice().buffer;
  }
  return ccf.jsonCompatibleToBuf(value);
}

/** JSON if it is that, else text if it is that, else the bytes. */
function fromBytes(bytes) {
  const text = ccf.bufToStr(bytes);
  try {
    return JSON.parse(text);
  } catch {
    return text.includes("\ufffd") || text.includes("\0") ? bytes : text;
  }
}

function textOf(bytes) {
  return bytes.byteLength === 0 ? "" : ccf.bufToStr(bytes);
}

function answer(got) {
  return {
    ...got,
    ok: got.status >= 200 && got.status < 300,
    text: () => textOf(got.body),
    json: () => JSON.parse(textOf(got.body)),
  };
}

function target(path, query) {
  if (query === undefined) {
    return path;
  }
  const pairs = Object.entries(query).map(
    ([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`,
  );
  return `${path}${path.includes("?") ? "&" : "?"}${pairs.join("&")}`;
}

function send(verb, path, options, caller) {
  const { headers = {}, body, query } = options;
  const who = options.caller === undefined ? caller : options.caller;
  const all = {};
  for (const [name, value] of Object.entries(headers)) {
    all[name.toLowerCase()] = String(value);
  }
  let bytes = new ArrayBuffer(0);
  if (body !== undefined) {
    bytes = toBytes(body);
    const kind =
      typeof body === "string"
        ? "text/plain"
        : bytesOf(body)
          ? "application/octet-stream"
          : "application/json";
    all["content-type"] ??= kind;
    all["content-length"] ??= String(bytes.byteLength);
  }
  const named = typeof who === "string" ? { policy: who } : (who ?? null);
  return answer(native.call(verb, target(path, query), all, bytes, named));
}

/** Requests to the application, from one caller. */
function client(caller) {
  const made = {
    /** The same application, called by somebody else: {policy, id, data, cert, ...}. */
    as: (other) => client(other),
    request: (verb, path, options = {}) => send(verb, path, options, caller),
  };
  for (const verb of ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]) {
    made[verb.toLowerCase()] = (path, options = {}) => send(verb, path, options, caller);
  }
  return made;
}

export const app = client(undefined);

/** Rows of any table, whatever the application may do with it. Texts are stored as they are. */
export const kv = {
  get(table, key) {
    const found = native.read(table, toBytes(key));
    return found === undefined ? undefined : fromBytes(found);
  },
  raw: (table, key) => native.read(table, toBytes(key)),
  has: (table, key) => native.read(table, toBytes(key)) !== undefined,
  set(table, key, value) {
    native.write(table, toBytes(key), toBytes(value));
  },
  delete(table, key) {
    native.write(table, toBytes(key), undefined);
  },
  entries: (table) => native.rows(table).map(([key, value]) => [fromBytes(key), fromBytes(value)]),
  size: (table) => native.rows(table).length,
  tables: () => native.tables(),
};

export const history = {
  /** Commit a transaction with these rows, {table: {key: value}}; its id. */
  add(tables) {
    for (const [table, content] of Object.entries(tables)) {
      const pairs = content instanceof Map ? content : Object.entries(content);
      for (const [key, value] of pairs) {
        native.stage(table, toBytes(key), value === undefined ? undefined : toBytes(value));
      }
    }
    return native.add();
  },
  /** A transaction as `ccf.historicalState` shows it. */
  state: (txid) => native.state(String(txid)),
  /** So many times, from now on, the node still has to fetch what is asked of the past. */
  fetching: (times) => native.fetching(times),
  /** The last transaction. */
  last: () => native.last(),
};
