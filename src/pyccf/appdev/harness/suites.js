// describe, it and the hooks; and the steps in which the runner works through them.

import { beginAssertions, checkAssertions } from "./expect.js";

const root = { name: "", parent: null, mode: "run", hooks: hooks(), items: [] };
const tests = [];
const suites = [root];
let current = root;
let collecting = true;

/** Characters that one value of a table of cases adds to a test's name. */
const CASE_MAX = 60;

function hooks() {
  return { beforeAll: [], beforeEach: [], afterEach: [], afterAll: [] };
}

function whileCollecting(what) {
  if (!collecting) {
    throw new Error(`${what} must be called while the file is loaded, not inside a test`);
  }
}

function suite(mode) {
  return (name, body) => {
    whileCollecting("describe");
    const made = { name: String(name), parent: current, mode, hooks: hooks(), items: [] };
    current.items.push({ suite: suites.length });
    suites.push(made);
    const outer = current;
    current = made;
    try {
      const result = body();
      if (typeof result?.then === "function") {
        throw new TypeError(`describe ${JSON.stringify(made.name)} must not be asynchronous`);
      }
    } finally {
      current = outer;
    }
  };
}

function testCase(mode) {
  return (name, body) => {
    whileCollecting("it");
    if (mode !== "todo" && mode !== "skip" && typeof body !== "function") {
      throw new TypeError(`the test ${JSON.stringify(String(name))} needs a function`);
    }
    current.items.push({ test: tests.length });
    tests.push({ name: String(name), parent: current, mode, body });
  };
}

/** A table of cases: it.each([[1, 2], [3, 4]])("%s and %s", (a, b) => ...). */
function each(define) {
  return (cases) => (name, body) => {
    for (const one of cases) {
      const given = Array.isArray(one) ? one : [one];
      let next = 0;
      const told = String(name).replace(/%[sdijo]/g, (mark) => {
        const value = given[next++];
        const text = typeof value === "object" ? JSON.stringify(value) : String(value ?? mark);
        return text.length > CASE_MAX ? `${text.slice(0, CASE_MAX)}…` : text;
      });
      define(told, () => body(...given));
    }
  };
}

function family(maker) {
  const made = maker("run");
  made.only = maker("only");
  made.skip = maker("skip");
  made.each = each(made);
  return made;
}

/** describe.each([["a", 1]])("%s", (name, n) => ...). */
export const describe = family(suite);
export const it = family(testCase);
it.todo = testCase("todo");
export const test = it;

function hook(kind) {
  return (body) => {
    whileCollecting(kind);
    current.hooks[kind].push(body);
  };
}
export const beforeAll = hook("beforeAll");
export const beforeEach = hook("beforeEach");
export const afterEach = hook("afterEach");
export const afterAll = hook("afterAll");

/** Tests that know what "only" and "skip" make of them, as data for the runner. */
function plan() {
  collecting = false;
  const focused = [...tests, ...suites].some((one) => one.mode === "only");
  const tell = (one, inFocus, skipped) => ({
    name: one.name,
    items: one.items.map(({ suite: s, test: t }) => {
      const item = s === undefined ? tests[t] : suites[s];
      const focus = inFocus || item.mode === "only";
      const off = skipped || item.mode === "skip";
      if (s !== undefined) {
        return { id: s, ...tell(item, focus, off) };
      }
      const mode = item.mode === "todo" ? "todo" : off || (focused && !focus) ? "skip" : "run";
      return { id: t, name: item.name, mode };
    }),
  });
  return tell(root, root.mode === "only", false);
}

function around(one) {
  const line = [];
  for (let at = one.parent; at; at = at.parent) {
    line.unshift(at);
  }
  return line;
}

async function runTest(id) {
  const one = tests[id];
  const line = around(one);
  beginAssertions();
  try {
    for (const outer of line) {
      for (const body of outer.hooks.beforeEach) {
        await body();
      }
    }
    await one.body();
    checkAssertions();
  } finally {
    for (const outer of line.reverse()) {
      for (const body of outer.hooks.afterEach) {
        await body();
      }
    }
  }
}

async function runHooks(kind, id) {
  for (const body of suites[id].hooks[kind]) {
    await body();
  }
}

// -- what the runner calls -------------------------------------------------------------------------

let outcome;

/** Begin one step: to load a file, to run a test, or a suite's hooks. */
export function begin(kind, argument) {
  outcome = undefined;
  const steps = {
    load: () => import(argument),
    test: () => runTest(argument),
    beforeAll: () => runHooks("beforeAll", argument),
    afterAll: () => runHooks("afterAll", argument),
  };
  steps[kind]().then(
    () => {
      outcome = {};
    },
    (error) => {
      outcome = { error: told(error) };
    },
  );
  return "";
}

/** What became of the step: JSON, or nothing as long as its promise is not settled. */
export function ended() {
  return outcome === undefined ? "" : JSON.stringify(outcome);
}

export function planned() {
  return JSON.stringify(plan());
}

function told(error) {
  const isError = error instanceof Error;
  const found = { message: isError ? String(error.message) : shown(error) };
  found.name = isError ? String(error.name) : "";
  found.stack = isError ? String(error.stack ?? "") : "";
  for (const member of ["expected", "actual"]) {
    if (typeof error?.[member] === "string") {
      found[member] = error[member];
    }
  }
  return found;
}

function shown(value) {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return "a value that cannot be shown was thrown";
  }
}
