// Run with: npm test

import { app, beforeEach, describe, expect, history, it, kv } from "@pyccf/test";
import { Records } from "../src/records";
import { ccf } from "../src/runtime";

const user = app.as({ policy: "user_cert", id: "alice" });

describe.each([
  ["private", "records"],
  ["public", "public:records"],
])("/log/%s", (kind: string, table: string) => {
  const log = `/log/${kind}`;

  beforeEach(() => {
    kv.set(table, 7, '"seven"');
  });

  it("keeps a record as the JSON of id and message", () => {
    expect(user.post(log, { body: { id: 8, msg: "eight" } }).json()).toBe(true);
    expect(kv.get(table, 8)).toBe("eight");
    expect(user.get(log, { query: { id: 8 } }).json()).toEqual({ msg: "eight" });
  });

  it("starts each test with the same records", () => {
    expect(user.get(`${log}/count`).json()).toBe(1);
  });

  it("shows what a transaction wrote", () => {
    const txid = history.add({ [table]: { 9: '"then"' } });
    const headers = { "x-ms-ccf-transaction-id": txid };
    expect(user.get(`${log}/historical?id=9`, { headers }).json()).toEqual({ msg: "then" });
  });

  it("refuses what is no record", () => {
    expect(user.post(log, { body: { id: "8" } })).toHaveStatus(400);
    expect(app.get(`${log}?id=7`)).toHaveStatus(401);
  });
});

describe("callers", () => {
  it("are described by the policy that knows them", () => {
    const jwt = { keyIssuer: "https://issuer", header: {}, payload: {} };
    const told = app.as({ policy: "jwt", jwt }).post("/multi_auth").text();
    expect(told.split("\n")[1]).toBe(
      "The caller is identified by a JWT issued by: https://issuer",
    );
    expect(app.post("/multi_auth").text()).toContain("Unauthenticated");
  });

  it("may be judged by the application itself", () => {
    const headers = { "x-custom-auth-name": "Ada", "x-custom-auth-age": 36 };
    expect(app.get("/custom_auth", { headers }).json()).toMatchObject({ name: "Ada", age: 36 });
    expect(app.get("/custom_auth")).toHaveStatus(401);
  });
});

describe("Records", () => {
  it("uses a table it is given", () => {
    const table = ccf.kv["elsewhere"];
    if (table === undefined) {
      throw new Error("tables always exist");
    }
    const records = new Records(table);
    records.put({ id: 1, msg: "one" });
    expect(records.list(0, 10)).toEqual({ records: [{ id: 1, msg: "one" }], next: null });
    expect(() => records.get(2)).toThrow("no record 2");
  });
});
