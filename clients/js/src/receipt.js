/**
 * Receipts: proof that a transaction is in the ledger of a service, checked with nothing but the
 * service's certificate. JSON receipts are signed by a node that the service endorsed, COSE receipts
 * by the service itself. No dates are looked at: receipts outlive certificates.
 */

import { concat, equal, hex, sha256, unbase64, unhex, utf8 } from "./bytes.js";
import { decode, encode, Tagged } from "./cbor.js";
import { InvalidReceipt } from "./errors.js";
import { Certificate } from "./x509.js";

const COSE_SIGN1 = 18;
const ALG = 1;
const CRIT = 2;
const KID = 4;
const VDS = 395;
const VDP = 396;
const CCF_LEDGER_SHA256 = 2;
const INCLUSION_PROOFS = -1;
const LEAF = 1;
const PATH = 2;
const DIGEST_SIZE = 32;
const PATH_MAX = 64;
const ENDORSEMENTS_MAX = 64;
const PROOFS_MAX = 16;

function need(truth, message) {
  if (!truth) throw new InvalidReceipt(message);
}

const digest = (value) => {
  need(value instanceof Uint8Array && value.length === DIGEST_SIZE, "A digest of the receipt is malformed.");
  return value;
};

/** What is hashed for a leaf: what was written, the commit evidence, and the claims. */
async function leafInput(writeSet, evidence, claims) {
  return concat(digest(writeSet), await sha256(utf8(evidence)), claims === undefined ? new Uint8Array() : digest(claims));
}

function txidOf(evidence) {
  const found = /^ce:([0-9]+\.[0-9]+):[0-9a-f]{64}$/.exec(evidence);
  need(found !== null, "The commit evidence is malformed.");
  return found[1];
}

/**
 * The root that a leaf and a path lead to, and what is hashed to get it. Only that can be verified:
 * WebCrypto hashes what it verifies, and the root is a hash already.
 */
async function fold(leaf, input, path) {
  let root = leaf;
  for (const [left, other] of path) {
    input = left ? concat(other, root) : concat(root, other);
    root = await sha256(input);
  }
  return { root, input };
}

function checkClaims(found, wanted) {
  if (wanted === undefined) return;
  need(found !== undefined, "The receipt says nothing about claims.");
  need(equal(found, wanted), "The claims digest is not the expected one.");
}

/**
 * Check a receipt: an object (JSON) or bytes (COSE). `claims` is the claims digest that it must hold.
 * Gives what was proven; throws InvalidReceipt.
 */
export async function verifyReceipt(receipt, servicePem, { claims } = {}) {
  try {
    const service = Certificate.parse(servicePem);
    return receipt instanceof Uint8Array
      ? await verifyCose(receipt, service, claims)
      : await verifyJson(receipt, service, claims);
  } catch (error) {
    if (error instanceof InvalidReceipt) throw error;
    throw new InvalidReceipt(`The receipt is malformed: ${error.message}`, { cause: error });
  }
}

async function verifyJson(receipt, service, claims) {
  const { leaf_components: parts, proof } = receipt;
  need((parts === undefined) !== (receipt.leaf === undefined), "A receipt has either leaf or leaf_components.");
  need(Array.isArray(proof) && proof.length <= PATH_MAX, `proof is no list of at most ${PATH_MAX} steps.`);
  const path = proof.map((step) => {
    const [side, ...more] = Object.keys(step);
    need(more.length === 0 && (side === "left" || side === "right"), "A step of the proof is neither left nor right.");
    return [side === "left", digest(unhex(step[side]))];
  });
  let found, input, leaf;
  if (parts === undefined) {
    leaf = digest(unhex(receipt.leaf));
    need(path.length > 0, "The receipt of a signature cannot be verified here.");
  } else {
    found = parts.claims_digest === undefined ? undefined : digest(unhex(parts.claims_digest));
    input = await leafInput(unhex(parts.write_set_digest), parts.commit_evidence, found);
    leaf = await sha256(input);
  }
  const folded = await fold(leaf, input, path);
  const node = Certificate.parse(receipt.cert);
  need((await node.key.id()) === receipt.node_id, `The certificate is not that of node ${receipt.node_id}.`);
  need(
    await node.key.verify(unbase64(receipt.signature), folded.input, "SHA-256", "der"),
    "The signature is not over the root that leaf and proof lead to.",
  );
  await checkChain(node, receipt.service_endorsements ?? [], service);
  checkClaims(found, claims);
  const txid = parts === undefined ? null : txidOf(parts.commit_evidence);
  return { txid, root: hex(folded.root), leaf: hex(leaf), claims: found ? hex(found) : null, nodeId: receipt.node_id };
}

async function checkChain(node, endorsements, service) {
  need(Array.isArray(endorsements) && endorsements.length <= ENDORSEMENTS_MAX, "service_endorsements is no list.");
  let current = node;
  for (const issuer of [...endorsements.map((pem) => Certificate.parse(pem)), service]) {
    need(await current.isEndorsedBy(issuer), "The certificate that signed is not endorsed by the service.");
    current = issuer;
  }
}

async function verifyCose(bytes, service, claims) {
  const message = decode(bytes);
  need(message instanceof Tagged && message.tag === COSE_SIGN1, "Not a COSE receipt.");
  need(Array.isArray(message.value) && message.value.length === 4, "Not a COSE receipt.");
  const [header, unprotected, payload, signature] = message.value;
  need(header instanceof Uint8Array && signature instanceof Uint8Array, "Not a COSE receipt.");
  const headers = decode(header);
  need(headers instanceof Map && unprotected instanceof Map, "Not a COSE receipt.");
  need(payload === null, "The receipt has a payload of its own.");
  need(!headers.has(CRIT), "The receipt demands something unknown.");
  need(headers.get(ALG) === service.key.curve.alg, "The receipt is signed with another algorithm.");
  const kid = headers.get(KID);
  need(kid instanceof Uint8Array && equal(kid, utf8(await service.key.id())), "The receipt names another service key.");
  need(headers.get(VDS) === CCF_LEDGER_SHA256, "The receipt is about another data structure.");
  const proofs = unprotected.get(VDP)?.get(INCLUSION_PROOFS);
  need(Array.isArray(proofs) && proofs.length > 0, "The receipt has no inclusion proof.");
  need(proofs.length <= PROOFS_MAX, `The receipt has more than ${PROOFS_MAX} proofs.`);
  const proven = [];
  for (const proof of proofs) {
    const { root, ...told } = await verifyProof(proof, claims);
    const signed = encode(["Signature1", header, new Uint8Array(), root]);
    need(await service.key.verify(signature, signed), "The signature is not over the root that leaf and proof lead to.");
    proven.push({ ...told, root: hex(root), nodeId: null });
  }
  return proven[0];
}

async function verifyProof(proof, claims) {
  const value = decode(proof);
  const leaf = value.get(LEAF);
  const steps = value.get(PATH);
  need(Array.isArray(leaf) && leaf.length === 3 && Array.isArray(steps), "An inclusion proof has no leaf or no path.");
  need(steps.length <= PATH_MAX, `An inclusion proof has more than ${PATH_MAX} steps.`);
  const path = steps.map((step) => {
    need(Array.isArray(step) && step.length === 2 && typeof step[0] === "boolean", "An inclusion proof has a malformed path.");
    return [step[0], digest(step[1])];
  });
  const [writeSet, evidence, found] = leaf;
  need(typeof evidence === "string", "An inclusion proof has a malformed leaf.");
  checkClaims(digest(found), claims);
  const hashed = await sha256(await leafInput(writeSet, evidence, found));
  const { root } = await fold(hashed, undefined, path);
  return { txid: txidOf(evidence), root, leaf: hex(hashed), claims: hex(found) };
}
