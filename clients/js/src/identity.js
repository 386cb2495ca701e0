/** Members and users: a certificate, and the key that signs for it. */

import { unpem, utf8 } from "./bytes.js";
import { encode, Tagged } from "./cbor.js";
import { Certificate, curveOfPrivateKey } from "./x509.js";

const COSE_SIGN1 = 18;
const ALG = 1;
const KID = 4;

export class Identity {
  constructor(certificate, id, sign, curve) {
    this.certificate = certificate;
    this.id = id;
    this._sign = sign;
    this._curve = curve;
  }

  /** Read a certificate and its private key (PKCS#8), both PEM. */
  static async load(certificatePem, keyPem) {
    const certificate = Certificate.parse(certificatePem);
    const der = unpem(keyPem, "PRIVATE KEY");
    const curve = curveOfPrivateKey(der);
    const algorithm = { name: "ECDSA", namedCurve: curve.name };
    const key = await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
    if (curve !== certificate.key.curve) throw new TypeError("the key is not that of the certificate");
    return Identity.withKey(certificatePem, key);
  }

  /** An identity whose key WebCrypto holds; it need not be extractable. The certificate is PEM. */
  static async withKey(certificatePem, key) {
    const certificate = Certificate.parse(certificatePem);
    const { curve } = certificate.key;
    const sign = async (data) =>
      new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: curve.hash }, key, data));
    const probe = utf8("does this key belong to this certificate?");
    if (!(await certificate.key.verify(await sign(probe), probe))) {
      throw new TypeError("the key is not that of the certificate");
    }
    return new Identity(certificate, await certificate.fingerprint(), sign, curve);
  }

  /** A tagged COSE_Sign1 over a payload; `headers` go into the protected header. */
  async sign(payload, headers) {
    const pairs = [[ALG, this._curve.alg], [KID, utf8(this.id)], ...headers];
    const header = encode(new Map(pairs));
    const signed = encode(["Signature1", header, new Uint8Array(), payload]);
    const signature = await this._sign(signed);
    return encode(new Tagged(COSE_SIGN1, [header, new Map(), payload, signature]));
  }

  /** The body of a governance request. */
  signGovernance(type, payload, createdAt, proposalId) {
    const about = proposalId === undefined ? [] : [["ccf.gov.msg.proposal_id", proposalId]];
    const made = ["ccf.gov.msg.created_at", createdAt];
    return this.sign(payload, [["ccf.gov.msg.type", type], made, ...about]);
  }

  /** The body of an application request for the policy user_cose_sign1. */
  signRequest(payload, createdAt, type) {
    const about = type === undefined ? [] : [["ccf.msg.type", type]];
    return this.sign(payload, [...about, ["ccf.msg.created_at", createdAt]]);
  }
}

