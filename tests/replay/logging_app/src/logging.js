// A logging application that answers as the original's JavaScript sample was recorded to answer,
// its careless treatment of bad input included: exceptions are left to the runtime. The sample for
// people to learn from is samples/logging.

const refused = (statusCode, error) => ({ statusCode, body: { error } });

const said = (statusCode, text) => ({
  statusCode,
  headers: { "content-type": "text/plain" },
  body: text,
});

const absent = () => refused(404, { code: "ResourceNotFound" });

const invalid = (msg) => refused(400, { code: "InvalidInput", msg });

function query(request) {
  const pairs = request.query.split("&").map((part) => part.split("="));
  return new Map(pairs.map(([name, value]) => [decodeURIComponent(name), value]));
}

/** The key of a record; a query without an id makes none. */
function key(request) {
  const id = query(request).get("id");
  if (id === undefined) {
    throw new Error("The query needs an id");
  }
  return ccf.strToBuf(id);
}

const table = (kind, request, kv = ccf.kv) => {
  const scope = query(request).get("scope");
  const name = scope === undefined ? "records" : `records-${scope}`;
  return kv[kind === "public" ? `public:${name}` : name];
};

const read = (kind) => (request) => {
  const found = table(kind, request).get(key(request));
  return found === undefined ? absent() : { body: { msg: ccf.bufToStr(found) } };
};

function put(kind, request, id, msg) {
  table(kind, request).set(ccf.strToBuf(`${id}`), ccf.strToBuf(msg));
  return { body: true };
}

const post = (kind) => (request) => {
  const { id, msg, record_claim: claimed } = request.body.json();
  if (claimed) {
    ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(msg)));
  }
  return put(kind, request, id, msg);
};

const remove = (kind) => (request) => {
  const records = table(kind, request);
  if (!records.has(key(request))) {
    return absent();
  }
  records.delete(key(request));
  return { body: true };
};

const clear = (kind) => (request) => {
  table(kind, request).clear();
  return { body: true };
};

const count = (kind) => (request) => ({ body: table(kind, request).size });

const historical = (kind, withReceipt) => (request) => {
  const state = ccf.historicalState;
  const found = table(kind, request, state.kv).get(key(request));
  if (found === undefined) {
    return absent();
  }
  const body = { msg: ccf.bufToStr(found) };
  if (withReceipt) {
    body.receipt = state.receipt;
    if (kind === "public") {
      // Whoever holds the message computes the digest, and learns that it is the claimed one.
      delete body.receipt.leaf_components.claims_digest;
    }
  }
  return { body };
};

const range = (kind) => (request) => {
  const asked = query(request);
  const committed = ccf.consensus.getLastCommittedTxId().seqno;
  const numbers = {};
  for (const [name, fallback] of [
    ["from_seqno", 1],
    ["to_seqno", committed],
  ]) {
    numbers[name] = asked.has(name) ? Number(asked.get(name)) : fallback;
    if (!Number.isInteger(numbers[name])) {
      return invalid(`${name} is not an integer`);
    }
  }
  const { from_seqno: from, to_seqno: to } = numbers;
  if (to < from) {
    return invalid("to_seqno must be >= from_seqno");
  }
  if (to > committed) {
    return invalid("End of range must be committed");
  }
  const states = ccf.historical.getStateRange(from, from, to, 60);
  if (states === null) {
    return { statusCode: 202, headers: { "retry-after": "1" } };
  }
  const entries = [];
  for (const state of states) {
    const found = table(kind, request, state.kv).get(key(request));
    if (found !== undefined) {
      const seqno = parseInt(state.transactionId.split(".")[1]);
      entries.push({ seqno, id: parseInt(asked.get("id")), msg: ccf.bufToStr(found) });
    }
  }
  return { body: { entries } };
};

export const get_private = read("private");
export const post_private = post("private");
export const delete_private = remove("private");
export const clear_private = clear("private");
export const count_private = count("private");
export const get_historical = historical("private", false);
export const get_historical_with_receipt = historical("private", true);
export const get_historical_range = range("private");

export const get_public = read("public");
export const post_public = post("public");
export const delete_public = remove("public");
export const clear_public = clear("public");
export const count_public = count("public");
export const get_historical_public = historical("public", false);
export const get_historical_public_with_receipt = historical("public", true);
export const get_historical_range_public = range("public");

export function post_private_admin_only(request) {
  if (!request.caller.data?.isAdmin) {
    return said(403, "Only admins may access this endpoint");
  }
  return post_private(request);
}

export function post_private_prefix_cert(request) {
  const { id, msg } = request.body.json();
  return put("private", request, id, `${request.caller.id}: ${msg}`);
}

export function post_private_raw_text(request) {
  const type = request.headers["content-type"];
  if (type !== "text/plain") {
    return said(415, `Expected content-type 'text/plain'. Got '${type}'.`);
  }
  return put("private", request, request.params.id, request.body.text());
}

export function custom_auth(request) {
  const { headers } = request;
  if (headers["x-custom-auth-explode"] !== undefined) {
    throw new Error(headers["x-custom-auth-explode"]);
  }
  for (const name of ["x-custom-auth-name", "x-custom-auth-age"]) {
    if (headers[name] === undefined) {
      return said(401, `Missing required header ${name}`);
    }
  }
  const name = headers["x-custom-auth-name"];
  const age = parseInt(headers["x-custom-auth-age"]);
  if (!(age >= 16)) {
    return said(401, "Caller age must be at least 16");
  }
  return { body: { name, age, description: `Your name is ${name} and you are ${age}` } };
}

export function multi_auth(request) {
  const { policy, id, data, cert } = request.caller;
  if (policy === "no_auth") {
    return said(200, "Unauthenticated\nThe caller did not provide any authenticated identity");
  }
  return said(200, [policy, id, JSON.stringify(data), cert].join("\n"));
}
