// The endpoints that private and public records have in common.

import type { Request } from "@microsoft/ccf-app";
import { endpoint } from "./answers";
import { written, writtenInRange, writtenWithReceipt } from "./history";
import { queryInteger, queryLimit, queryScope } from "./input";
import { Records } from "./records";
import { ccf } from "./runtime";

/** Records of one table in the transaction of a request, those of its scope if it names one. */
export function recordsIn(table: string, request: Request): Records {
  return Records.of(ccf.kv, table, queryScope(request));
}

/** Bind a message to the receipt of this transaction, which then proves it. */
export function claim(msg: string): void {
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(msg)));
}

export function endpointsOf(table: string) {
  return {
    read: endpoint((request) => ({
      msg: recordsIn(table, request).get(queryInteger(request, "id")),
    })),
    remove: endpoint((request) => {
      recordsIn(table, request).remove(queryInteger(request, "id"));
      return true;
    }),
    list: endpoint((request) =>
      recordsIn(table, request).list(queryInteger(request, "from", 0), queryLimit(request)),
    ),
    clear: endpoint((request) => {
      recordsIn(table, request).clear();
      return true;
    }),
    count: endpoint((request) => recordsIn(table, request).count),
    historical: endpoint((request) => written(request, table)),
    historicalReceipt: endpoint((request) => writtenWithReceipt(request, table)),
    historicalRange: endpoint((request) => writtenInRange(request, table)),
  };
}
