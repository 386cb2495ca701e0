/**
 * The client: requests to a service, whatever carries them. `fetch` does, in browsers; `node.js`
 * brings a carrier for Node that trusts the service certificate alone and shows a client's.
 */

import { unbase64, utf8 } from "./bytes.js";
import { NotCommitted, ServiceError, TooLate } from "./errors.js";
import { Endpoints } from "./generated.js";
import { verifyReceipt } from "./receipt.js";

const REDIRECTS_MAX = 5;
const REDIRECTS = [301, 302, 307, 308];
const TIMEOUT_MS = 10_000;
/** How much longer than the service's own patience its answer is waited for. */
const MARGIN_MS = 5_000;
const WAIT_MS = 10_000;
const PAUSE_MS = [10, 20, 50, 100, 200];
const API_VERSION = "2024-07-01";
const FOR = "export function vote (rawProposal, proposerId) { return true }";
const AGAINST = "export function vote (rawProposal, proposerId) { return false }";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What a service answered. */
export class Reply {
  constructor(status, headers, body) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  /** Id of the transaction that was executed, or null. */
  get txid() {
    return this.headers["x-ms-ccf-transaction-id"] ?? null;
  }

  /** The receipt that came with the answer, if one was asked for. */
  get receipt() {
    const text = this.headers["x-pyccf-receipt"];
    return text === undefined ? null : JSON.parse(new TextDecoder().decode(unbase64(text)));
  }

  text() {
    return new TextDecoder().decode(this.body);
  }

  /** The body as JSON; null if it is empty. */
  json() {
    return this.body.length === 0 ? null : JSON.parse(this.text());
  }

  /** This reply if its status is below 400; otherwise throws ServiceError. */
  check() {
    if (this.status >= 400) throw new ServiceError(this);
    return this;
  }
}

/** Carries requests by `fetch`, which trusts whom the browser trusts and follows redirects itself. */
export function byFetch(options = {}) {
  return async (method, url, headers, body, timeoutMs = TIMEOUT_MS) => {
    const late = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? late : AbortSignal.any([late, options.signal]);
    try {
      const answer = await fetch(url, { ...options, signal, method, headers, body: body ?? undefined });
      return {
        status: answer.status,
        headers: Object.fromEntries(answer.headers),
        body: new Uint8Array(await answer.arrayBuffer()),
      };
    } catch (error) {
      throw error.name === "TimeoutError" ? new TooLate(`No answer from ${url} within ${timeoutMs} ms`) : error;
    }
  };
}

export class Client extends Endpoints {
  /** See `ClientOptions` in client.d.ts. */
  constructor({ url, carry = byFetch(), serviceCertificate, identity, token, timeoutMs = TIMEOUT_MS, now = Date.now }) {
    super();
    this.url = url;
    this.serviceCertificate = serviceCertificate;
    this.identity = identity;
    this._carry = carry;
    this._token = token;
    this._timeoutMs = timeoutMs;
    this._now = now;
  }

  /** One request; the reply whatever its status. Redirects are followed, on TLS only. */
  async request(method, path, { json, body, params, headers, wait, waitTimeoutMs } = {}) {
    const sent = { ...headers };
    if (json !== undefined) {
      body = utf8(JSON.stringify(json));
      sent["content-type"] ??= "application/json";
    }
    const token = typeof this._token === "function" ? await this._token() : this._token;
    if (token !== undefined) sent["authorization"] ??= `Bearer ${token}`;
    let timeoutMs = this._timeoutMs;
    if (wait !== undefined) {
      const patience = waitTimeoutMs ?? timeoutMs;
      sent["x-pyccf-wait"] = wait;
      sent["x-pyccf-wait-timeout-ms"] = String(patience);
      timeoutMs = patience + MARGIN_MS;
    }
    let url = new URL(path, this.url);
    for (const [name, value] of Object.entries(params ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    for (let left = REDIRECTS_MAX; ; left--) {
      const answer = await this._carry(method, url.href, sent, body, timeoutMs);
      const target = answer.headers.location;
      if (!REDIRECTS.includes(answer.status) || target === undefined) {
        return new Reply(answer.status, answer.headers, answer.body);
      }
      const next = new URL(target, url);
      if (left === 0) throw new Error(`more than ${REDIRECTS_MAX} redirects, the last to ${next}`);
      if (url.protocol === "https:" && next.protocol !== "https:") {
        throw new Error(`${url} redirects away from TLS, to ${next}`);
      }
      url = next;
    }
  }

  get(path, options) {
    return this.request("GET", path, options);
  }

  post(path, options) {
    return this.request("POST", path, options);
  }

  /** What the generated methods do: ask, and give the body of a success. */
  async answer(method, path, params, options = {}) {
    const reply = (await this.request(method, path, { ...options, params })).check();
    if (reply.body.length === 0) return null;
    return (reply.headers["content-type"] ?? "").startsWith("application/json") ? reply.json() : reply.text();
  }

  /** What the generated methods of governance do: sign a payload and send it. */
  async signed(path, type, payload, proposalId) {
    const signer = this._signer();
    const content = payload === undefined ? new Uint8Array() : utf8(JSON.stringify(payload));
    const body = await signer.signGovernance(type, content, Math.floor(this._now() / 1000), proposalId);
    const headers = { "content-type": "application/cose" };
    return this.answer("POST", path, { "api-version": API_VERSION }, { body, headers });
  }

  /** POST a payload (bytes or text) signed by a user, for the policy user_cose_sign1. */
  async postSigned(path, payload, { type, ...options } = {}) {
    const content = typeof payload === "string" ? utf8(payload) : payload;
    const body = await this._signer().signRequest(content, Math.floor(this._now() / 1000), type);
    return this.post(path, { ...options, body, headers: { "content-type": "application/cose" } });
  }

  _signer() {
    if (this.identity === undefined) throw new TypeError("this request must be signed: give the client an identity");
    return this.identity;
  }

  // --- transactions ---------------------------------------------------------------------------

  /** Resolves once a transaction is committed; throws NotCommitted or TooLate. */
  async waitForCommit(txid, timeoutMs = WAIT_MS) {
    await this._until(timeoutMs, `Transaction ${txid} was not committed`, async () => {
      const { status } = await this.getNodeTx({ transaction_id: txid });
      if (status === "Invalid") throw new NotCommitted(txid);
      return status === "Committed" ? true : undefined;
    });
  }

  /** The JSON receipt of a transaction, as soon as there is one. */
  receipt(txid, timeoutMs = WAIT_MS) {
    return this._until(timeoutMs, `The receipt of ${txid} is not available`, async () => {
      const reply = await this.get("/node/receipt", { params: { transaction_id: txid } });
      if (reply.status === 200) return reply.json();
      if (reply.status === 202) return undefined;
      const error = new ServiceError(reply);
      if (error.code === "TransactionInvalid") throw new NotCommitted(txid);
      if (error.code !== "TransactionPendingOrUnknown") throw error;
      return undefined;
    });
  }

  async _until(timeoutMs, what, ask) {
    const end = this._now() + timeoutMs;
    for (let i = 0; ; i++) {
      const found = await ask();
      if (found !== undefined) return found;
      const rest = PAUSE_MS[Math.min(i, PAUSE_MS.length - 1)];
      if (this._now() + rest > end) throw new TooLate(`${what} within ${timeoutMs} ms`);
      await pause(rest);
    }
  }

  /** Check a receipt, JSON (object) or COSE (bytes), against the service certificate. */
  verifyReceipt(receipt, options) {
    if (this.serviceCertificate === undefined) throw new TypeError("give the client the service certificate");
    return verifyReceipt(receipt, this.serviceCertificate, options);
  }

  // --- governance -----------------------------------------------------------------------------

  /** Propose actions, `[{name, args}]`. */
  propose(actions) {
    return this.proposalsCreate({ actions });
  }

  /** Vote: true, false, or the text of a module that exports `vote`. */
  vote(proposalId, ballot = true) {
    const text = typeof ballot === "string" ? ballot : ballot ? FOR : AGAINST;
    return this.ballotsSubmit({ proposalId, memberId: this._signer().id }, { ballot: text });
  }

  /** Withdraw one's own proposal. */
  withdraw(proposalId) {
    return this.proposalsWithdraw({ proposalId });
  }

  /** Fetch a fresh state digest and acknowledge it: the member becomes active. */
  async acknowledge() {
    const memberId = this._signer().id;
    const digest = await this.stateDigestsUpdate({ memberId });
    await this.stateDigestsAcknowledge({ memberId }, { stateDigest: digest.stateDigest });
    return digest;
  }
}

