// Everything a caller sends is checked here, before anything else looks at it.

import type { Request } from "@microsoft/ccf-app";
import { invalid, wrongType } from "./answers";
import { ccf } from "./runtime";

/** Longest message, in characters. */
export const MESSAGE_MAX = 4096;

/** Records in one listing, and by default. */
export const LIST_MAX = 1000;

const DIGITS = /^(0|[1-9][0-9]{0,15})$/;

const SCOPE = /^[a-z0-9_-]{1,32}$/;

export interface LogRecord {
  readonly id: number;
  readonly msg: string;
}

/** The query by name; of a repeated name the first value counts. */
function query(request: Request): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of request.query.split("&")) {
    const [name = "", ...value] = part.split("=");
    if (!found.has(name)) {
      found.set(name, value.join("="));
    }
  }
  return found;
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function integer(text: string, name: string): number {
  const value = DIGITS.test(text) ? Number(text) : undefined;
  if (!isId(value)) {
    throw invalid(`${name} must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return value;
}

/** A whole number in the query. Without a fallback it must be there. */
export function queryInteger(request: Request, name: string, fallback?: number): number {
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
export function queryLimit(request: Request): number {
  const limit = queryInteger(request, "limit", LIST_MAX);
  if (limit < 1 || limit > LIST_MAX) {
    throw invalid(`limit must be an integer from 1 to ${LIST_MAX}`);
  }
  return limit;
}

/** The scope that a request is about, if it is about one. */
export function queryScope(request: Request): string | undefined {
  const scope = query(request).get("scope");
  if (scope !== undefined && !SCOPE.test(scope)) {
    throw invalid("scope must be 1 to 32 of a-z, 0-9, _ and -");
  }
  return scope;
}

/** The id in a path such as /raw_text/{id}. */
export function pathId(request: Request): number {
  return integer(request.params["id"] ?? "", "id");
}

function message(value: unknown): string {
  if (typeof value !== "string" || value === "" || [...value].length > MESSAGE_MAX) {
    throw invalid(`msg must be a text of 1 to ${MESSAGE_MAX} characters`);
  }
  if (value.includes("\0") || !value.isWellFormed()) {
    throw invalid("msg must be well-formed text without NUL");
  }
  return value;
}

/** The JSON of the body, or of what the caller signed. */
function json(request: Request): unknown {
  const caller = request.caller;
  try {
    return caller?.policy === "user_cose_sign1"
      ? ccf.bufToJsonCompatible(caller.cose.content)
      : request.body.json();
  } catch {
    throw invalid("The body must be JSON");
  }
}

export interface Written extends LogRecord {
  /** Whether the receipt is to prove the message; undefined if the caller does not say. */
  readonly claim: boolean | undefined;
}

/** The record in a JSON body: {id, msg} and perhaps record_claim. */
export function record(request: Request): Written {
  const body = json(request);
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalid("The body must be an object with id and msg");
  }
  const { id, msg, record_claim } = body as Record<string, unknown>;
  if (!isId(id)) {
    throw invalid(`id must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  const claim = record_claim ?? undefined;
  if (claim !== undefined && typeof claim !== "boolean") {
    throw invalid("record_claim must be true or false");
  }
  return { id, msg: message(msg), claim };
}

/** The body of a request that says it is plain text. */
export function plainText(request: Request): string {
  const [type = ""] = (request.headers["content-type"] ?? "").split(";");
  if (type.trim().toLowerCase() !== "text/plain") {
    throw wrongType("The body must be text/plain");
  }
  return message(request.body.text());
}
