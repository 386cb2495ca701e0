// A key or value of the table, out of a field of a request.

export function bytes(text) {
  return ccf.strToBuf(text);
}
