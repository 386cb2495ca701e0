// Records in a table: key and value are the JSON of id and message.

import { notFound } from "./answers.js";

export class Records {
  /** @param table a handle of `ccf.kv`, or of `kv` in a historical state */
  constructor(table) {
    this.table = table;
  }

  has(id) {
    return this.table.has(ccf.jsonCompatibleToBuf(id));
  }

  /** The message of a record; refuses with 404 if there is none. */
  get(id) {
    const found = this.table.get(ccf.jsonCompatibleToBuf(id));
    if (found === undefined) {
      throw notFound(`There is no record ${id}`);
    }
    return ccf.bufToJsonCompatible(found);
  }

  put({ id, msg }) {
    this.table.set(ccf.jsonCompatibleToBuf(id), ccf.jsonCompatibleToBuf(msg));
  }

  remove(id) {
    this.get(id);
    this.table.delete(ccf.jsonCompatibleToBuf(id));
  }

  clear() {
    this.table.clear();
  }

  get count() {
    return this.table.size;
  }

  /** Records from an id on, in order, and the id to go on with (null: that was all). */
  list(from, limit) {
    const rows = [];
    this.table.forEach((value, key) => {
      const id = ccf.bufToJsonCompatible(key);
      if (id >= from) {
        rows.push({ id, msg: ccf.bufToJsonCompatible(value) });
      }
    });
    rows.sort((a, b) => a.id - b.id);
    return {
      records: rows.slice(0, limit),
      next: rows.length > limit ? rows[limit].id : null,
    };
  }
}

/** Bind a message to the receipt of this transaction, which then proves it. */
export function claim(msg) {
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(msg)));
}
