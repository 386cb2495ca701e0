// Endpoints under /log/public: records that everybody with the ledger can read.

import { endpoint } from "./answers.js";
import { written, writtenInRange, writtenWithReceipt } from "./history.js";
import { queryInteger, queryLimit, record } from "./input.js";
import { Records } from "./records.js";

const TABLE = "public:records";

const records = () => new Records(ccf.kv[TABLE]);

export const read = endpoint((request) => ({
  msg: records().get(queryInteger(request, "id")),
}));

/** The digest of the message goes into the receipt, so that the receipt proves the message. */
export const write = endpoint((request) => {
  const { id, msg } = record(request);
  records().put({ id, msg });
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(msg)));
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
