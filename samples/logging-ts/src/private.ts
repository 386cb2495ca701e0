// Endpoints under /log/private: records that are encrypted in the ledger.

import type { AnyCertAuthnIdentity, UserCertAuthnIdentity } from "@microsoft/ccf-app";
import { endpoint, forbidden } from "./answers";
import { pathId, plainText, record } from "./input";
import { ccf } from "./runtime";
import { claim, endpointsOf, recordsIn } from "./table";

const TABLE = "records";

export const {
  read: readPrivate,
  remove: removePrivate,
  list: listPrivate,
  clear: clearPrivate,
  count: countPrivate,
  historical: historicalPrivate,
  historicalReceipt: historicalReceiptPrivate,
  historicalRange: historicalRangePrivate,
} = endpointsOf(TABLE);

/** The receipt proves no more than that there was a write, unless the caller wants it to. */
export const writePrivate = endpoint((request) => {
  const written = record(request);
  recordsIn(TABLE, request).put(written);
  if (written.claim === true) {
    claim(written.msg);
  }
  return true;
});

/** Anybody may leave a message; it is marked as coming from nobody. */
export const writeAnonymouslyPrivate = endpoint((request) => {
  const { id, msg } = record(request);
  recordsIn(TABLE, request).put({ id, msg: `Anonymous: ${msg}` });
  return true;
});

/** Anybody with a certificate may; the message is marked with the certificate's fingerprint. */
export const writeWithCertificatePrivate = endpoint((request) => {
  const { cert } = request.caller as AnyCertAuthnIdentity;
  const { id, msg } = record(request);
  recordsIn(TABLE, request).put({ id, msg: `${ccf.pemToId(cert)}: ${msg}` });
  return true;
});

/** Only for users whose data, kept by governance, says {"isAdmin": true}. */
export const writeAsAdminPrivate = endpoint((request) => {
  const { data } = request.caller as UserCertAuthnIdentity;
  if (data?.isAdmin !== true) {
    throw forbidden("Only users with isAdmin in their user data may do this");
  }
  recordsIn(TABLE, request).put(record(request));
  return true;
});

/** The body is the message itself. */
export const writeTextPrivate = endpoint((request) => {
  recordsIn(TABLE, request).put({ id: pathId(request), msg: plainText(request) });
  return true;
});
