import { Endpoints } from "./generated.js";

export * from "./generated.js";

/** A JSON receipt, as services give it. */
export type Receipt = Record<string, unknown>;

/** What a receipt proves; digests in hex. */
export interface Proven {
  /** The transaction; null for a signature, which names none. */
  txid: string | null;
  root: string;
  leaf: string;
  /** The claims digest, null if there is none. */
  claims: string | null;
  /** The node that signed; null for COSE receipts, which the service signs. */
  nodeId: string | null;
}

/** Check a receipt, JSON (object) or COSE (bytes), with a service certificate (PEM). Throws InvalidReceipt. */
export function verifyReceipt(
  receipt: Receipt | Uint8Array,
  servicePem: string,
  options?: { claims?: Uint8Array },
): Promise<Proven>;

/** The service refused a request. */
export class ServiceError extends Error {
  readonly status: number;
  /** CCF's error code, for example ResourceNotFound. */
  readonly code: string;
  readonly details: unknown[];
  readonly reply: Reply;
}

/** A transaction that never will be committed. */
export class NotCommitted extends Error {
  readonly txid: string;
}

/** Something was not known in time. */
export class TooLate extends Error {}

/** A receipt that proves nothing. */
export class InvalidReceipt extends Error {}

/** A member or user: a certificate, and the key that signs for it. */
export class Identity {
  /** Hex SHA-256 of the certificate, by which the service knows it. */
  readonly id: string;
  /** Read a certificate and its private key (PKCS#8), both PEM. */
  static load(certificatePem: string, keyPem: string): Promise<Identity>;
  /** A certificate (PEM) and its key, which WebCrypto holds and need not give away. */
  static withKey(certificatePem: string, key: CryptoKey): Promise<Identity>;
}

/** What a service answered. */
export class Reply {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
  get txid(): string | null;
  get receipt(): Receipt | null;
  text(): string;
  json(): any;
  /** This reply if its status is below 400; otherwise throws ServiceError. */
  check(): Reply;
}

/** What carries requests: one exchange, without redirects if it can. */
export type Carry = (
  method: string,
  url: string,
  headers: Record<string, string>,
  body: Uint8Array | undefined,
  timeoutMs?: number,
) => Promise<{ status: number; headers: Record<string, any>; body: Uint8Array }>;

/** Carries requests by `fetch`: whom to trust is the browser's affair. */
export function byFetch(options?: Record<string, unknown>): Carry;

export interface ClientOptions {
  /** Address of a node, `https://host:port`. */
  url: string;
  /** By default `fetch`; `connect` of `pyccf-client/node` brings Node's. */
  carry?: Carry;
  /** PEM, to verify receipts with. */
  serviceCertificate?: string;
  /** Signs governance and signed requests. */
  identity?: Identity;
  /** A bearer token, or what gives one that is still good. */
  token?: string | (() => string | Promise<string>);
  /** How long the whole of one answer is waited for, 10 s by default; then TooLate is thrown. */
  timeoutMs?: number;
  /** The time in milliseconds. */
  now?: () => number;
}

export interface RequestOptions {
  json?: unknown;
  body?: Uint8Array;
  params?: Record<string, string | number | boolean | undefined>;
  headers?: Record<string, string>;
  /** Answer only when committed, or with the receipt besides (an extension of pyccf). */
  wait?: "commit" | "receipt";
  waitTimeoutMs?: number;
}

/** Requests to one service. */
export class Client extends Endpoints {
  constructor(options: ClientOptions);
  readonly url: string;
  readonly identity: Identity | undefined;
  request(method: string, path: string, options?: RequestOptions): Promise<Reply>;
  get(path: string, options?: RequestOptions): Promise<Reply>;
  post(path: string, options?: RequestOptions): Promise<Reply>;
  /** POST a payload signed by a user, for the policy user_cose_sign1. */
  postSigned(
    path: string,
    payload: Uint8Array | string,
    options?: RequestOptions & { type?: string },
  ): Promise<Reply>;
  /** Resolves once a transaction is committed; throws NotCommitted or TooLate. */
  waitForCommit(txid: string, timeoutMs?: number): Promise<void>;
  /** The JSON receipt of a transaction, as soon as there is one. */
  receipt(txid: string, timeoutMs?: number): Promise<Receipt>;
  /** Check a receipt against the service certificate that the client was given. */
  verifyReceipt(receipt: Receipt | Uint8Array, options?: { claims?: Uint8Array }): Promise<Proven>;
  /** Propose actions. */
  propose(actions: Array<{ name: string; args?: unknown }>): ReturnType<Endpoints["proposalsCreate"]>;
  /** Vote for, against, or by the text of a module that exports `vote`. */
  vote(proposalId: string, ballot?: boolean | string): ReturnType<Endpoints["ballotsSubmit"]>;
  withdraw(proposalId: string): ReturnType<Endpoints["proposalsWithdraw"]>;
  /** Acknowledge the state of the service: the member becomes active. */
  acknowledge(): ReturnType<Endpoints["stateDigestsUpdate"]>;
}
