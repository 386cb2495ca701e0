// Endpoints under /log/public: records that everybody with the ledger can read.

import { endpoint } from "./answers";
import { record } from "./input";
import { claim, endpointsOf, recordsIn } from "./table";

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

/** The receipt proves the message, unless the caller does not want it to. */
export const writePublic = endpoint((request) => {
  const written = record(request);
  recordsIn(TABLE, request).put(written);
  if (written.claim !== false) {
    claim(written.msg);
  }
  return true;
});
