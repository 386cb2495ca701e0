// Endpoints under /log/public: records that everybody with the ledger can read.

import { endpoint } from "./answers";
import { record } from "./input";
import { ccf } from "./runtime";
import { endpointsOf, recordsIn } from "./table";

const TABLE = "public:records";

export const {
  read: readPublic,
  remove: removePublic,
  list: listPublic,
  clear: clearPublic,
  count: countPublic,
  historical: historicalPublic,
  historicalReceipt: historicalReceiptPublic,
  historicalRange: historicalRangePublic,
} = endpointsOf(TABLE);

/** The digest of the message goes into the receipt, so that the receipt proves the message. */
export const writePublic = endpoint((request) => {
  const { id, msg } = record(request);
  recordsIn(TABLE).put({ id, msg });
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(msg)));
  return true;
});
