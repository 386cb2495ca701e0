// The smallest useful requests: one private key written or read, by anybody.

import { bytes } from "./bytes.js";

const TABLE = "records";
const ID = /^id=([0-9]{8})$/;

export function write(request) {
  const { id, msg } = request.body.json();
  ccf.kv[TABLE].set(bytes(id), bytes(msg));
  return { body: true };
}

export function read(request) {
  const [, id] = ID.exec(request.query) ?? [];
  const found = id === undefined ? undefined : ccf.kv[TABLE].get(bytes(id));
  if (found === undefined) {
    return {
      statusCode: 404,
      body: { error: { code: "ResourceNotFound", message: "No such record" } },
    };
  }
  return { body: { msg: ccf.bufToStr(found) } };
}

/** Write `count` records from the number `first` on, all with the same message. */
export function fill(request) {
  const { first, count, msg } = request.body.json();
  const table = ccf.kv[TABLE];
  const value = bytes(msg);
  for (let number = first; number < first + count; ++number) {
    table.set(bytes(String(number).padStart(8, "0")), value);
  }
  return { body: table.size };
}
