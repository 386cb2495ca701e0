// The endpoints that private and public records have in common.

import { endpoint } from "./answers";
import { written, writtenInRange, writtenWithReceipt } from "./history";
import { queryInteger, queryLimit } from "./input";
import { Records } from "./records";
import { ccf } from "./runtime";

/** Records of one table in the transaction of the current request. */
export function recordsIn(table: string): Records {
  const map = ccf.kv[table];
  if (map === undefined) {
    throw new Error("tables always exist");
  }
  return new Records(map);
}

export function endpointsOf(table: string) {
  return {
    read: endpoint((request) => ({ msg: recordsIn(table).get(queryInteger(request, "id")) })),
    remove: endpoint((request) => {
      recordsIn(table).remove(queryInteger(request, "id"));
      return true;
    }),
    list: endpoint((request) =>
      recordsIn(table).list(queryInteger(request, "from", 0), queryLimit(request)),
    ),
    clear: endpoint(() => {
      recordsIn(table).clear();
      return true;
    }),
    count: endpoint(() => recordsIn(table).count),
    historical: endpoint((request) => written(request, table)),
    historicalReceipt: endpoint((request) => writtenWithReceipt(request, table)),
    historicalRange: endpoint((request) => writtenInRange(request, table)),
  };
}
