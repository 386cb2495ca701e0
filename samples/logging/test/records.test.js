// Run with: pyccf app test samples/logging

import { app, beforeEach, describe, expect, history, it, kv } from "@pyccf/test";
import { AskAgain, endpoint, invalid } from "../src/answers.js";
import { Records } from "../src/records.js";

const TXID = "x-ms-ccf-transaction-id";

const user = app.as({ policy: "user_cert", id: "alice", data: { isAdmin: false } });
const admin = app.as({ policy: "user_cert", id: "carol", data: { isAdmin: true } });

describe.each([
  ["private", "records"],
  ["public", "public:records"],
])("/log/%s", (kind, table) => {
  const log = `/log/${kind}`;

  beforeEach(() => {
    kv.set(table, 7, '"seven"');
  });

  it("keeps a record as the JSON of id and message", () => {
    expect(user.post(log, { body: { id: 8, msg: "eight" } }).json()).toBe(true);
    expect(kv.entries(table)).toEqual([
      [7, "seven"],
      [8, "eight"],
    ]);
    expect(user.get(`${log}?id=8`).json()).toEqual({ msg: "eight" });
  });

  it("starts each test with the same records", () => {
    expect(user.get(`${log}/count`).json()).toBe(1);
  });

  it("removes", () => {
    expect(user.delete(`${log}?id=7`)).toHaveStatus(200);
    const gone = user.get(`${log}?id=7`);
    expect(gone).toHaveStatus(404);
    expect(gone.json().error.code).toBe("ResourceNotFound");
    user.post(log, { body: { id: 1, msg: "x" } });
    user.delete(`${log}/all`);
    expect(kv.size(table)).toBe(0);
  });

  it("lists in pages", () => {
    for (let id = 0; id < 3; id++) {
      user.post(log, { body: { id, msg: `${id}` } });
    }
    const first = user.get(`${log}/all?limit=2`).json();
    expect(first).toEqual({
      records: [
        { id: 0, msg: "0" },
        { id: 1, msg: "1" },
      ],
      next: 2,
    });
    expect(user.get(`${log}/all?from=${first.next}`).json()).toMatchObject({ next: null });
  });

  it("keeps the records of a scope apart", () => {
    const then = user.post(`${log}?scope=a-1`, { body: { id: 7, msg: "scoped" } });
    expect(kv.entries(`${table}-a-1`)).toEqual([[7, "scoped"]]);
    expect(user.get(`${log}?id=7`).json()).toEqual({ msg: "seven" });
    expect(user.get(`${log}?id=7&scope=a-1`).json()).toEqual({ msg: "scoped" });
    expect(user.get(`${log}/count?scope=other`).json()).toBe(0);
    const past = { headers: { [TXID]: then.txid } };
    expect(user.get(`${log}/historical?id=7&scope=a-1`, past).json()).toEqual({ msg: "scoped" });
    for (const scope of ["", "A", "a/b", "x".repeat(33)]) {
      expect(user.get(`${log}?id=7&scope=${scope}`)).toHaveStatus(400);
    }
  });

  it("takes what users sign, and what they send with a token", () => {
    const content = JSON.stringify({ id: 1, msg: "signed" });
    const signer = app.as({ policy: "user_cose_sign1", cose: { content } });
    expect(signer.post(log, { body: "the envelope" })).toHaveStatus(200);
    expect(user.get(`${log}?id=1`).json()).toEqual({ msg: "signed" });
    const jwt = { keyIssuer: "https://issuer", header: {}, payload: { sub: "alice" } };
    expect(app.as({ policy: "jwt", jwt }).get(`${log}?id=1`)).toHaveStatus(200);
  });

  it("claims messages when asked to", () => {
    const digest = ccf.crypto.digest("SHA-256", ccf.strToBuf("hi"));
    const wrote = (record_claim) =>
      user.post(log, { body: { id: 1, msg: "hi", record_claim } }).claimsDigest;
    expect(wrote(true)).toEqual(digest);
    expect(wrote(false)).toBeUndefined();
    expect(user.post(log, { body: { id: 1, msg: "hi", record_claim: "yes" } })).toHaveStatus(400);
  });

  it("shows what a transaction wrote", () => {
    const then = user.post(log, { body: { id: 9, msg: "before" } });
    user.post(log, { body: { id: 9, msg: "after" } });
    const past = { headers: { [TXID]: then.txid } };
    expect(user.get(`${log}/historical?id=9`, past).json()).toEqual({ msg: "before" });
    expect(user.get(`${log}/receipt?id=9`, past).json().receipt).toHaveProperty("proof");
    expect(user.get(`${log}/historical?id=1`, past)).toHaveStatus(404);
    expect(user.get(`${log}/historical?id=9`)).toHaveStatus(404);
  });

  it("asks to come again while the past is fetched", () => {
    history.add({ [table]: { 5: '"five"' } });
    const path = `${log}/historical/range?id=5`;
    history.fetching(1);
    const first = user.get(path);
    expect(first).toHaveStatus(202);
    expect(first.headers["retry-after"]).toBe("1");
    const page = user.get(path).json();
    expect(page.entries.map(({ msg }) => msg)).toEqual(["five"]);
    expect(page).not.toHaveProperty("@nextLink");
  });

  it("is for users", () => {
    expect(app.get(`${log}?id=7`)).toHaveStatus(401);
    expect(app.as("member_cert").get(`${log}?id=7`)).toHaveStatus(401);
  });

  it.each([
    "not JSON",
    [[]],
    { id: -1, msg: "x" },
    { id: 2 ** 53, msg: "x" },
    { id: 1 },
    { id: 1, msg: "" },
    { id: 1, msg: "a\0b" },
    { id: 1, msg: "x".repeat(4097) },
  ])("refuses %j", (body) => {
    expect(user.post(log, { body })).toHaveStatus(400);
    expect(kv.size(table)).toBe(1);
  });
});

describe("private records only", () => {
  it("marks what nobody in particular wrote", () => {
    expect(app.post("/log/private/anonymous", { body: { id: 1, msg: "hi" } })).toHaveStatus(200);
    expect(kv.get("records", 1)).toBe("Anonymous: hi");
  });

  it("knows who is an admin", () => {
    const body = { id: 1, msg: "hi" };
    expect(user.post("/log/private/admin_only", { body })).toHaveStatus(403);
    expect(admin.post("/log/private/admin_only", { body })).toHaveStatus(200);
  });

  it("takes plain text", () => {
    const path = "/log/private/raw_text/3";
    expect(user.post(path, { body: "hello" })).toHaveStatus(200);
    expect(kv.get("records", 3)).toBe("hello");
    const wrong = { body: "hello", headers: { "content-type": "text/html" } };
    expect(user.post(path, wrong)).toHaveStatus(415);
  });

  it("binds the message of a public record to its receipt", () => {
    const { claimsDigest } = user.post("/log/public", { body: { id: 1, msg: "hi" } });
    expect(claimsDigest).toEqual(ccf.crypto.digest("SHA-256", ccf.strToBuf("hi")));
    expect(user.post("/log/private", { body: { id: 1, msg: "hi" } }).claimsDigest).toBeUndefined();
  });

  it("tells callers who they are", () => {
    expect(user.get("/whoami").json()).toEqual({
      policy: "user_cert",
      id: "alice",
      data: { isAdmin: false },
    });
    expect(app.get("/whoami").json()).toEqual({ policy: "no_auth", id: null, data: null });
  });
});

describe("/multi_auth", () => {
  const cert = "-----BEGIN CERTIFICATE-----";
  const userCert = { policy: "user_cert", id: "alice", data: { isAdmin: false }, cert };
  const jwt = { policy: "jwt", jwt: { keyIssuer: "https://issuer", header: {}, payload: {} } };
  const cose = { policy: "user_cose_sign1", id: "bob", cose: { content: "four" } };
  const told = (caller) => app.as(caller).post("/multi_auth").text().split("\n");

  it.each([
    [userCert, ["User TLS cert", "The caller is a user with ID: alice"]],
    [{ policy: "member_cert", id: "m", cert }, ["Member TLS cert"]],
    [{ policy: "any_cert", cert }, ["Any TLS cert", "The caller's cert is:", cert]],
    [jwt, ["JWT", "The caller is identified by a JWT issued by: https://issuer"]],
    [cose, ["User COSE Sign1", "The caller is identified by a COSE Sign1 signed by kid: bob"]],
    ["no_auth", ["Unauthenticated"]],
  ])("describes %j", (caller, lines) => {
    expect(told(caller).slice(0, lines.length)).toEqual(lines);
  });

  it("describes a caller by all of several policies", () => {
    const all = { policy: ["user_cert", "jwt", "user_cose_sign1"] };
    const lines = told({ ...all, user_cert: userCert, jwt, user_cose_sign1: cose });
    expect(lines[0]).toBe("Conjoined auth policy: jwt+user_cert+user_cose_sign1");
    expect(lines).toContain("User TLS cert");
    expect(lines).toContain("The caller is identified by a COSE Sign1 with content of size: 4");
  });
});

describe("/custom_auth", () => {
  const ask = (name, age) =>
    app.get("/custom_auth", {
      headers: { "x-custom-auth-name": name, "x-custom-auth-age": age },
    });

  it("believes what callers say of themselves", () => {
    expect(ask("Ada", 36).json()).toEqual({
      name: "Ada",
      age: 36,
      description: "Your name is Ada and you are 36",
    });
  });

  it.each([
    ["Ada", "15"],
    ["Ada", "old"],
    ["Ada", "-1"],
    ["", "36"],
  ])("refuses %j of age %j", (name, age) => {
    expect(ask(name, age)).toHaveStatus(401);
  });

  it("refuses who does not say, and fails as the application would", () => {
    expect(app.get("/custom_auth")).toHaveStatus(401);
    const headers = { "x-custom-auth-explode": "bang" };
    expect(app.get("/custom_auth", { headers })).toHaveStatus(500);
  });
});

describe("modules alone", () => {
  it("Records uses a table it is given", () => {
    const records = new Records(ccf.kv.elsewhere);
    records.put({ id: 1, msg: "one" });
    expect(records.get(1)).toBe("one");
    expect(records.count).toBe(1);
    expect(() => records.get(2)).toThrow("no record 2");
  });

  it("endpoint answers refusals and lets defects through", () => {
    const answer = (error) =>
      endpoint(() => {
        throw error;
      })({});
    expect(answer(invalid("no")).statusCode).toBe(400);
    expect(answer(new AskAgain("later"))).toMatchObject({ statusCode: 202, body: "later" });
    expect(() => answer(new TypeError("bug"))).toThrow(TypeError);
  });
});
