/** What can go wrong between a client and a service. */

/** The service refused: status, CCF's error code, message and details. */
export class ServiceError extends Error {
  constructor(reply) {
    let error = {};
    try {
      error = JSON.parse(reply.text()).error ?? {};
    } catch {
      // Not CCF's JSON: the text itself is told.
    }
    const message = error.message ?? (reply.text().slice(0, 500) || "No explanation given");
    super(`${message} (${reply.status} ${error.code ?? ""})`);
    this.name = "ServiceError";
    this.status = reply.status;
    this.code = error.code ?? `HTTP${reply.status}`;
    this.details = error.details ?? [];
    this.reply = reply;
  }
}

/** A transaction that never will be committed: another took its place in the ledger. */
export class NotCommitted extends Error {
  constructor(txid) {
    super(`Transaction ${txid} was rolled back and will not be committed`);
    this.name = "NotCommitted";
    this.txid = txid;
  }
}

/** Something was not known in time. */
export class TooLate extends Error {
  name = "TooLate";
}

/** A receipt that proves nothing. */
export class InvalidReceipt extends Error {
  name = "InvalidReceipt";
}
