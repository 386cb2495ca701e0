// Endpoints under /log/private: records that are encrypted in the ledger.

import { endpoint, forbidden } from "./answers.js";
import { written, writtenInRange, writtenWithReceipt } from "./history.js";
import { pathId, plainText, queryInteger, queryLimit, record } from "./input.js";
import { Records } from "./records.js";

const TABLE = "records";

const records = () => new Records(ccf.kv[TABLE]);

export const read = endpoint((request) => ({
  msg: records().get(queryInteger(request, "id")),
}));

export const write = endpoint((request) => {
  records().put(record(request));
  return true;
});

export const remove = endpoint((request) => {
  records().remove(queryInteger(request, "id"));
  return true;
});

export const list = endpoint((request) =>
  records().list(queryInteger(request, "from", 0), queryLimit(request)),
);

export const clear = endpoint(() => {
  records().clear();
  return true;
});

export const count = endpoint(() => records().count);

export const historical = endpoint((request) => written(request, TABLE));

export const historicalReceipt = endpoint((request) => writtenWithReceipt(request, TABLE));

export const historicalRange = endpoint((request) => writtenInRange(request, TABLE));

/** Anybody may leave a message; it is marked as coming from nobody. */
export const writeAnonymously = endpoint((request) => {
  const { id, msg } = record(request);
  records().put({ id, msg: `anonymous: ${msg}` });
  return true;
});

/** Anybody with a certificate may; the message is marked with the certificate's fingerprint. */
export const writeWithCertificate = endpoint((request) => {
  const { id, msg } = record(request);
  records().put({ id, msg: `${ccf.pemToId(request.caller.cert)}: ${msg}` });
  return true;
});

/** Only for users whose data, kept by governance, says {"isAdmin": true}. */
export const writeAsAdmin = endpoint((request) => {
  if (request.caller.data?.isAdmin !== true) {
    throw forbidden("Only users with isAdmin in their user data may do this");
  }
  records().put(record(request));
  return true;
});

/** The body is the message itself. */
export const writeText = endpoint((request) => {
  records().put({ id: pathId(request), msg: plainText(request) });
  return true;
});
