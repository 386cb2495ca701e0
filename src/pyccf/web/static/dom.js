// Building the page. Whatever comes out of a ledger becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

export const count = (n) => Number(n).toLocaleString("en");
export const short = (text, n = 16) => (text.length <= n ? text : text.slice(0, n) + "…");
export const mono = (text) => h("span", { class: "mono" }, text);
export const link = (path, ...text) => h("a", { href: "#" + path }, ...text);

export function bytes(n) {
  for (const unit of ["bytes", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return unit === "bytes" ? `${n} bytes` : `${n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
}

export function facts(rows) {
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

export function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "faint" }, empty);
  const heads = columns.map((c) => h("th", { class: c.startsWith("#") ? "number" : null }, c.replace("#", "")));
  return h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, rows));
}

// Values as the server gives them: JSON, text, {"hex"} for other bytes, {"cut"} for long ones.
export function value(shown) {
  if (typeof shown === "string") return h("pre", null, shown);
  if (shown && typeof shown === "object" && !Array.isArray(shown)) {
    const names = Object.keys(shown);
    if (names.length === 1 && typeof shown.hex === "string") return h("pre", { class: "faint" }, "0x" + shown.hex);
    if (names.length === 2 && typeof shown.cut === "string" && typeof shown.bytes === "number")
      return [h("pre", null, shown.cut), h("p", { class: "faint" }, `… the beginning of ${count(shown.bytes)} bytes`)];
  }
  // Line breaks inside strings, as in certificates, are shown as such.
  return h("pre", null, JSON.stringify(shown, null, 2).replaceAll("\\n", "\n"));
}

export async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error([body.error, body.hint].filter(Boolean).join(" "));
  return body;
}
