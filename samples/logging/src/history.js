// Records as transactions of the past wrote them.

import { AskAgain, invalid } from "./answers.js";
import { queryInteger, scoped } from "./input.js";
import { Records } from "./records.js";

/** Transactions that one request may look at. */
const RANGE_MAX = 100;

/** How long the node keeps them for the next request. */
const EXPIRY_SECONDS = 60;

/** What the transaction named in the request's header wrote for an id. */
export function written(request, table) {
  const id = queryInteger(request, "id");
  return { msg: new Records(ccf.historicalState.kv[scoped(table, request)]).get(id) };
}

/** The same, with the receipt that proves it. */
export function writtenWithReceipt(request, table) {
  return { ...written(request, table), receipt: ccf.historicalState.receipt };
}

/** Every write of one record in a range of transactions, oldest first. */
export function writtenInRange(request, table) {
  const id = queryInteger(request, "id");
  const name = scoped(table, request);
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
  for (const state of states) {
    const records = new Records(state.kv[name]);
    if (records.has(id)) {
      const seqno = Number(state.transactionId.split(".")[1]);
      entries.push({ seqno, id, msg: records.get(id) });
    }
  }
  if (last === to) {
    return { entries };
  }
  const scope = name === table ? "" : `&scope=${name.slice(table.length + 1)}`;
  const rest = `from_seqno=${last + 1}&to_seqno=${to}&id=${id}${scope}`;
  return { entries, "@nextLink": `${request.route}?${rest}` };
}
