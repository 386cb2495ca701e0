// expect(value).toBe(...) and its kin. A matcher that does not hold throws Mismatch.

import { alike, show } from "./show.js";

/** Thrown by a matcher; `expected` and `actual` are texts. */
export class Mismatch extends Error {
  constructor(message, expected, actual) {
    super(message);
    this.expected = expected;
    this.actual = actual;
  }
}
Mismatch.prototype.name = "Mismatch";

/** How many matchers were asked since the test began, and how many it says there must be. */
let asked = 0;
let demanded;

export function beginAssertions() {
  asked = 0;
  demanded = undefined;
}

export function checkAssertions() {
  if (demanded === true && asked === 0) {
    throw new Mismatch("the test has no expectations, though it says it has");
  }
  if (typeof demanded === "number" && demanded !== asked) {
    throw new Mismatch(`the test has ${asked} expectations, not ${demanded}`);
  }
}

/** An asymmetric matcher, to stand inside of what toEqual and others are given. */
function pattern(text, matches) {
  return { matches, describesItself: () => text };
}

const PRIMITIVES = new Map([
  [String, "string"],
  [Number, "number"],
  [Boolean, "boolean"],
  [BigInt, "bigint"],
  [Symbol, "symbol"],
  [Function, "function"],
]);

function thrown(call) {
  if (typeof call !== "function") {
    throw new TypeError("expect(...).toThrow needs a function to call");
  }
  try {
    call();
  } catch (error) {
    return { error };
  }
  return undefined;
}

function fits(error, wanted) {
  const message = String(error?.message ?? error);
  if (wanted === undefined) {
    return true;
  }
  if (typeof wanted === "string") {
    return message.includes(wanted);
  }
  if (wanted instanceof RegExp) {
    return wanted.test(message);
  }
  if (typeof wanted === "function") {
    return error instanceof wanted;
  }
  return wanted instanceof Error ? message === wanted.message : alike(error, wanted);
}

/** The value at a path such as "a.b[0]" or ["a", "b", 0]. */
function at(value, path) {
  const steps = Array.isArray(path) ? path : path.split(/[.[\]]+/).filter((step) => step !== "");
  let found = value;
  for (const step of steps) {
    if (found === null || found === undefined || !(step in Object(found))) {
      return undefined;
    }
    found = found[step];
  }
  return { found };
}

function contains(whole, part, same) {
  if (typeof whole === "string") {
    return whole.includes(part);
  }
  return Array.from(whole).some((item) => same(item, part));
}

function isSubset(actual, wanted) {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(actual) &&
      actual.length === wanted.length &&
      wanted.every((item, i) => isSubset(actual[i], item))
    );
  }
  const plain = typeof wanted === "object" && wanted !== null && !wanted.describesItself;
  if (!plain || Object.getPrototypeOf(wanted) !== Object.prototype) {
    return alike(actual, wanted);
  }
  return (
    typeof actual === "object" &&
    actual !== null &&
    Object.keys(wanted).every((key) => key in actual && isSubset(actual[key], wanted[key]))
  );
}

function callsOf(mock) {
  if (!Array.isArray(mock?.calls)) {
    throw new TypeError("expect(...).toHaveBeenCalled and its kin need a function made by fn()");
  }
  return mock.calls;
}

/** Each answers whether it holds, and with which words: [holds, "to be 3"]. */
const MATCHERS = {
  toBe: (actual, wanted) => [Object.is(actual, wanted), `to be ${show(wanted)}`],
  toEqual: (actual, wanted) => [alike(actual, wanted), `to equal ${show(wanted)}`],
  toStrictEqual: (actual, wanted) => [
    alike(actual, wanted, true),
    `to strictly equal ${show(wanted)}`,
  ],
  toBeNull: (actual) => [actual === null, "to be null"],
  toBeUndefined: (actual) => [actual === undefined, "to be undefined"],
  toBeDefined: (actual) => [actual !== undefined, "to be defined"],
  toBeTruthy: (actual) => [Boolean(actual), "to be truthy"],
  toBeFalsy: (actual) => [!actual, "to be falsy"],
  toBeNaN: (actual) => [Number.isNaN(actual), "to be NaN"],
  toBeGreaterThan: (actual, limit) => [actual > limit, `to be greater than ${show(limit)}`],
  toBeGreaterThanOrEqual: (actual, limit) => [actual >= limit, `to be at least ${show(limit)}`],
  toBeLessThan: (actual, limit) => [actual < limit, `to be less than ${show(limit)}`],
  toBeLessThanOrEqual: (actual, limit) => [actual <= limit, `to be at most ${show(limit)}`],
  toBeCloseTo: (actual, wanted, digits = 2) => [
    Object.is(actual, wanted) || Math.abs(actual - wanted) < 10 ** -digits / 2,
    `to be ${show(wanted)} to ${digits} digits`,
  ],
  toBeInstanceOf: (actual, type) => [actual instanceof type, `to be a ${type.name}`],
  toBeTypeOf: (actual, type) => [typeof actual === type, `to be of type ${type}`],
  toBeOneOf: (actual, values) => [
    Array.from(values).some((value) => alike(actual, value)),
    `to be one of ${show(Array.from(values))}`,
  ],
  toContain: (actual, part) => [contains(actual, part, Object.is), `to contain ${show(part)}`],
  toContainEqual: (actual, part) => [
    contains(actual, part, alike),
    `to contain an equal of ${show(part)}`,
  ],
  toHaveLength: (actual, length) => [actual?.length === length, `to have the length ${length}`],
  toHaveProperty: (actual, path, ...wanted) => {
    const found = at(actual, path);
    const holds = found !== undefined && (!wanted.length || alike(found.found, wanted[0]));
    const value = wanted.length ? ` with the value ${show(wanted[0])}` : "";
    return [holds, `to have the property ${show(path)}${value}`];
  },
  toMatch: (actual, wanted) => [
    typeof wanted === "string" ? actual.includes(wanted) : wanted.test(actual),
    `to match ${show(wanted)}`,
  ],
  toMatchObject: (actual, wanted) => [isSubset(actual, wanted), `to match ${show(wanted)}`],
  toHaveStatus: (actual, status) => {
    const said = typeof actual?.text === "function" ? `, and it said ${actual.text()}` : "";
    return [actual?.status === status, `to have the status ${status}${said}`];
  },
  toHaveBeenCalled: (mock) => [callsOf(mock).length > 0, "to have been called"],
  toHaveBeenCalledTimes: (mock, times) => [
    callsOf(mock).length === times,
    `to have been called ${times} times, not ${callsOf(mock).length}`,
  ],
  toHaveBeenCalledWith: (mock, ...given) => [
    callsOf(mock).some((call) => alike(call, given)),
    `to have been called with ${show(given)}; it was with ${show(callsOf(mock))}`,
  ],
};

function judge(actual, negated, [holds, words]) {
  if (holds === negated) {
    const not = negated ? "not " : "";
    throw new Mismatch(`expected ${show(actual)} ${not}${words}`, `${not}${words}`, show(actual));
  }
}

function matchersOf(actual, negated) {
  const made = {};
  for (const [name, matcher] of Object.entries(MATCHERS)) {
    made[name] = (...wanted) => {
      asked++;
      judge(actual, negated, matcher(actual, ...wanted));
    };
  }
  made.toThrow = (wanted) => {
    asked++;
    judgeThrown(thrown(actual), wanted, negated);
  };
  made.toThrowError = made.toThrow;
  return made;
}

function judgeThrown(caught, wanted, negated) {
  const words = wanted === undefined ? "an error" : show(wanted);
  const got = caught === undefined ? "nothing was thrown" : `${show(caught.error)} was thrown`;
  const holds = caught !== undefined && fits(caught.error, wanted);
  if (holds === negated) {
    const what = negated ? `not to throw ${words}` : `to throw ${words}`;
    throw new Mismatch(`expected the function ${what}, but ${got}`, what, got);
  }
}

/** The same matchers for what a promise comes to; each gives a promise. */
function later(promise, negated, settle) {
  const made = {};
  for (const name of [...Object.keys(MATCHERS), "toThrow", "toThrowError"]) {
    made[name] = async (...wanted) => {
      const [value, threw] = await settle(promise);
      if (!name.startsWith("toThrow")) {
        return matchersOf(value, negated)[name](...wanted);
      }
      asked++;
      return judgeThrown(threw ? { error: value } : thrown(value), wanted[0], negated);
    };
  }
  return made;
}

const started = (given) => (typeof given === "function" ? given() : given);

const RESOLVES = async (promise) => {
  try {
    return [await started(promise), false];
  } catch (error) {
    throw new Mismatch(`expected a promise that resolves, it was rejected with ${show(error)}`);
  }
};

const REJECTS = async (promise) => {
  let value;
  try {
    value = await started(promise);
  } catch (error) {
    return [error, true];
  }
  throw new Mismatch(`expected a promise that is rejected, it resolved to ${show(value)}`);
};

export function expect(actual) {
  const made = matchersOf(actual, false);
  made.not = matchersOf(actual, true);
  for (const [name, settle] of [
    ["resolves", RESOLVES],
    ["rejects", REJECTS],
  ]) {
    made[name] = later(actual, false, settle);
    made[name].not = later(actual, true, settle);
  }
  return made;
}

expect.anything = () => pattern("anything", (v) => v !== null && v !== undefined);
expect.any = (type) =>
  pattern(`any ${type.name}`, (v) =>
    PRIMITIVES.has(type) ? typeof v === PRIMITIVES.get(type) : v instanceof type,
  );
expect.objectContaining = (wanted) =>
  pattern(`an object containing ${show(wanted)}`, (v) => isSubset(v, wanted));
expect.arrayContaining = (wanted) =>
  pattern(
    `an array containing ${show(wanted)}`,
    (v) => Array.isArray(v) && wanted.every((item) => contains(v, item, alike)),
  );
expect.stringContaining = (part) =>
  pattern(`a text containing ${show(part)}`, (v) => typeof v === "string" && v.includes(part));
expect.stringMatching = (form) =>
  pattern(`a text matching ${show(form)}`, (v) => typeof v === "string" && new RegExp(form).test(v));
expect.assertions = (count) => {
  demanded = count;
};
expect.hasAssertions = () => {
  demanded = true;
};
expect.fail = (message = "this must not be reached") => {
  throw new Mismatch(message);
};

/** A function that remembers with what it was called. */
export function fn(implementation = () => undefined) {
  function mock(...given) {
    mock.calls.push(given);
    return implementation.apply(this, given);
  }
  mock.calls = [];
  mock.mockReset = () => {
    mock.calls = [];
  };
  mock.mockReturnValue = (value) => {
    implementation = () => value;
    return mock;
  };
  mock.mockImplementation = (other) => {
    implementation = other;
    return mock;
  };
  return mock;
}
