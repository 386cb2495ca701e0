// Records as transactions of the past wrote them.

import type { HistoricalState, Receipt, Request } from "@microsoft/ccf-app";
import { AskAgain, invalid } from "./answers";
import { queryInteger, queryScope } from "./input";
import { Records } from "./records";
import { ccf } from "./runtime";

/** Transactions that one request may look at. */
const RANGE_MAX = 100;

/** How long the node keeps them for the next request. */
const EXPIRY_SECONDS = 60;

/** The transaction named in the request's header: endpoints in historical mode have it. */
function state(): HistoricalState {
  const found = ccf.historicalState;
  if (found === undefined) {
    throw new Error("not an endpoint in historical mode");
  }
  return found;
}

/** What the transaction wrote for an id. */
export function written(request: Request, table: string): { msg: string } {
  const records = Records.of(state().kv, table, queryScope(request));
  return { msg: records.get(queryInteger(request, "id")) };
}

/** The same, with the receipt that proves it. */
export function writtenWithReceipt(
  request: Request,
  table: string,
): { msg: string; receipt: Receipt } {
  return { ...written(request, table), receipt: state().receipt };
}

/** Every write of one record in a range of transactions, oldest first. */
export function writtenInRange(request: Request, table: string) {
  const id = queryInteger(request, "id");
  const scope = queryScope(request);
  const committed = ccf.consensus.getLastCommittedTxId().seqno;
  const from = queryInteger(request, "from_seqno", 1);
  const to = queryInteger(request, "to_seqno", committed);
  if (from < 1) {
    throw invalid("from_seqno must be at least 1");
  }
  if (to < from) {
    throw invalid("to_seqno must not be less than from_seqno");
  }
  if (to > committed) {
    throw invalid("to_seqno must be committed");
  }
  const last = Math.min(to, from + RANGE_MAX - 1);
  // Requests for different ranges must not share a handle: the node keeps one range for each.
  const handle = from * RANGE_MAX + (last - from);
  const states = ccf.historical.getStateRange(handle, from, last, EXPIRY_SECONDS);
  if (states === null) {
    throw new AskAgain("These transactions are being fetched, ask again.");
  }
  const entries = [];
  for (const past of states) {
    const records = Records.of(past.kv, table, scope);
    if (records.has(id)) {
      const seqno = Number(past.transactionId.split(".")[1]);
      entries.push({ seqno, id, msg: records.get(id) });
    }
  }
  if (last === to) {
    return { entries };
  }
  const within = scope === undefined ? "" : `&scope=${scope}`;
  const rest = `from_seqno=${last + 1}&to_seqno=${to}&id=${id}${within}`;
  return { entries, "@nextLink": `${request.route}?${rest}` };
}
