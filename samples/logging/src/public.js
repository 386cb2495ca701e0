// Endpoints under /log/public: records that everybody with the ledger can read.

import { endpoint } from "./answers.js";
import { written, writtenInRange, writtenWithReceipt } from "./history.js";
import { queryInteger, queryLimit, record, scoped } from "./input.js";
import { claim, Records } from "./records.js";

const TABLE = "public:records";

const records = (request) => new Records(ccf.kv[scoped(TABLE, request)]);

export const read = endpoint((request) => ({
  msg: records(request).get(queryInteger(request, "id")),
}));

/** The receipt proves the message, unless the caller does not want it to. */
export const write = endpoint((request) => {
  const { id, msg, claim: wanted } = record(request);
  records(request).put({ id, msg });
  if (wanted !== false) {
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
