// Endpoints under /log/private: records that are encrypted in the ledger.

import { endpoint, forbidden } from "./answers.js";
import { written, writtenInRange, writtenWithReceipt } from "./history.js";
import { pathId, plainText, queryInteger, queryLimit, record, scoped } from "./input.js";
import { claim, Records } from "./records.js";

const TABLE = "records";

const records = (request) => new Records(ccf.kv[scoped(TABLE, request)]);

export const read = endpoint((request) => ({
  msg: records(request).get(queryInteger(request, "id")),
}));

/** The receipt proves no more than that there was a write, unless the caller wants it to. */
export const write = endpoint((request) => {
  const { id, msg, claim: wanted } = record(request);
  records(request).put({ id, msg });
  if (wanted === true) {
    claim(msg);
  }
  return true;
});

export const remove = endpoint((request) => {
  records(request).remove(queryInteger(request, "id"));
  return true;
});

export const list = endpoint((request) =>
  records(request).list(queryInteger(request, "from", 0), queryLimit(request)),
);

export const clear = endpoint((request) => {
  records(request).clear();
  return true;
});

export const count = endpoint((request) => records(request).count);

export const historical = endpoint((request) => written(request, TABLE));

export const historicalReceipt = endpoint((request) => writtenWithReceipt(request, TABLE));

export const historicalRange = endpoint((request) => writtenInRange(request, TABLE));

/** Anybody may leave a message; it is marked as coming from nobody. */
export const writeAnonymously = endpoint((request) => {
  const { id, msg } = record(request);
  records(request).put({ id, msg: `Anonymous: ${msg}` });
  return true;
});

/** Anybody with a certificate may; the message is marked with the certificate's fingerprint. */
export const writeWithCertificate = endpoint((request) => {
  const { id, msg } = record(request);
  records(request).put({ id, msg: `${ccf.pemToId(request.caller.cert)}: ${msg}` });
  return true;
});

/** Only for users whose data, kept by governance, says {"isAdmin": true}. */
export const writeAsAdmin = endpoint((request) => {
  if (request.caller.data?.isAdmin !== true) {
    throw forbidden("Only users with isAdmin in their user data may do this");
  }
  records(request).put(record(request));
  return true;
});

/** The body is the message itself. */
export const writeText = endpoint((request) => {
  records(request).put({ id: pathId(request), msg: plainText(request) });
  return true;
});
