// Everything a caller sends is checked here, before anything else looks at it.

import { invalid, wrongType } from "./answers.js";

/** Longest message, in characters. */
export const MESSAGE_MAX = 4096;

/** Records in one listing, and by default. */
export const LIST_MAX = 1000;

const DIGITS = /^(0|[1-9][0-9]{0,15})$/;

const SCOPE = /^[a-z0-9_-]{1,32}$/;

/** The query as a Map of names to values; of a repeated name the first value counts. */
function query(request) {
  const found = new Map();
  for (const part of request.query.split("&")) {
    const cut = part.indexOf("=");
    const name = cut < 0 ? part : part.slice(0, cut);
    if (!found.has(name)) {
      found.set(name, cut < 0 ? "" : part.slice(cut + 1));
    }
  }
  return found;
}

function integer(text, name) {
  const value = DIGITS.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) {
    throw invalid(`${name} must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return value;
}

/** A whole number in the query. Without a fallback it must be there. */
export function queryInteger(request, name, fallback) {
  const text = query(request).get(name);
  if (text !== undefined) {
    return integer(text, name);
  }
  if (fallback === undefined) {
    throw invalid(`The query needs ${name}`);
  }
  return fallback;
}

/** How many records a listing may have. */
export function queryLimit(request) {
  const limit = queryInteger(request, "limit", LIST_MAX);
  if (limit < 1 || limit > LIST_MAX) {
    throw invalid(`limit must be an integer from 1 to ${LIST_MAX}`);
  }
  return limit;
}

/** Name of the table that a request is about: the records of a scope are kept apart. */
export function scoped(table, request) {
  const scope = query(request).get("scope");
  if (scope === undefined) {
    return table;
  }
  if (!SCOPE.test(scope)) {
    throw invalid("scope must be 1 to 32 of a-z, 0-9, _ and -");
  }
  return `${table}-${scope}`;
}

/** The id in a path such as /raw_text/{id}. */
export function pathId(request) {
  return integer(request.params.id, "id");
}

function message(value) {
  if (typeof value !== "string" || value === "" || [...value].length > MESSAGE_MAX) {
    throw invalid(`msg must be a text of 1 to ${MESSAGE_MAX} characters`);
  }
  if (value.includes("\0") || !value.isWellFormed()) {
    throw invalid("msg must be well-formed text without NUL");
  }
  return value;
}

/** The JSON of the body, or of what the caller signed. */
function json(request) {
  const { cose } = request.caller;
  try {
    return cose === undefined ? request.body.json() : ccf.bufToJsonCompatible(cose.content);
  } catch {
    throw invalid("The body must be JSON");
  }
}

/** The record in a JSON body: {id, msg}, and whether the receipt is to prove the message. */
export function record(request) {
  const body = json(request);
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    throw invalid("The body must be an object with id and msg");
  }
  if (!Number.isSafeInteger(body.id) || body.id < 0) {
    throw invalid(`id must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  const claim = body.record_claim ?? undefined;
  if (claim !== undefined && typeof claim !== "boolean") {
    throw invalid("record_claim must be true or false");
  }
  return { id: body.id, msg: message(body.msg), claim };
}

/** The body of a request that says it is plain text. */
export function plainText(request) {
  const type = (request.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
  if (type !== "text/plain") {
    throw wrongType("The body must be text/plain");
  }
  return message(request.body.text());
}
