// The pages, by what stands behind the # of the address.

import { ask, bytes, count, facts, h, link, mono, short, table, value } from "./dom.js";
import { picture } from "./proof.js";

const page = document.getElementById("page");
const PAGE = 50;
const LOOK_MS = 700;

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, v]) => v !== null && v !== "" && v !== undefined)).toString();
const txid = (entry) => link(`/entry/${entry.seqno}`, `${entry.view}.${entry.seqno}`);
const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

function certificate(found) {
  if (!found) return h("span", { class: "faint" }, "none");
  return h("details", null,
    h("summary", null, found.fingerprint ? [mono(short(found.fingerprint)), ` ${day(found.not_before)} to ${day(found.not_after)}`] : "certificate"),
    h("pre", null, found.pem));
}

async function overview() {
  const turn = shown;
  const o = await ask("api/overview");
  if (!o.complete) setTimeout(() => { if (turn === shown) show(); }, LOOK_MS);
  const files = o.files.map((f) => h("tr", null, h("td", { class: "mono" }, f.file), h("td", { class: "number" }, count(f.first)),
    h("td", { class: "number" }, f.last === null ? "open" : count(f.last)), h("td", null, f.committed ? "committed" : "not committed")));
  const figure = (name, shown) => h("div", null, h("dt", null, name), h("dd", null, shown));
  return [
    h("h1", null, "Overview"),
    o.problem && h("p", { class: "error" }, `The ledger can be read up to entry ${count(o.last)}. ${o.problem}`),
    !o.complete && h("p", { class: "faint" }, `Reading: ${bytes(o.bytes_done)} of ${bytes(o.bytes)}.`),
    h("dl", { class: "figures" }, figure("Transactions", count(o.last - o.first + 1)), figure("Signatures", count(o.signatures)),
      figure("Size", bytes(o.bytes)), figure("Maps", count(o.maps)), figure("Members", count(o.members)), figure("Users", count(o.users)),
      figure("Nodes", count(o.nodes)), figure("Proposals", count(o.proposals))),
    h("h2", null, "Service"),
    facts([["status", o.service_status], ["certificate", certificate(o.service_certificate)], ["recoveries", String(o.recovery_count)],
      ["configuration", value(o.configuration)], ["private maps", o.private ? "open" : "closed: started without members' keys"]]),
    h("h2", null, o.file_count > files.length ? `Files (the last ${files.length} of ${count(o.file_count)})` : "Files"),
    table(["file", "#first", "#last", "state"], files, "None."),
    o.left_out.length ? h("p", { class: "warm" }, `Left out: ${o.left_out.join(", ")}`) : null,
  ];
}

function line(entry) {
  const names = Object.entries(entry.maps);
  return h("tr", null, h("td", { class: "number" }, txid(entry)),
    h("td", null, entry.signature && h("span", { class: "tag sig" }, "signature"), entry.governance && h("span", { class: "tag gov" }, "governance"),
      names.slice(0, 6).map(([name, n], i) => [i ? ", " : "", link(`/entries?${query({ map: name })}`, name), n > 1 ? ` (${count(n)})` : ""]),
      names.length > 6 && `, and ${names.length - 6} more`,
      entry.private_size && !names.some(([n]) => n.startsWith("private ")) ? h("span", { class: "faint" }, names.length ? ", private" : "private") : null),
    h("td", { class: "number" }, count(entry.size)));
}

function pages(next, path) {
  return h("div", { class: "pages" }, h("button", { onclick: () => history.back() }, "Back"),
    h("button", { id: "older", disabled: next === null, onclick: () => { location.hash = path; } }, "Older"));
}

async function entries(_, asked) {
  const map = asked.get("map"), key = asked.get("key"), before = asked.get("before");
  const found = await ask("api/entries?" + query({ map, key, before, count: PAGE }));
  const search = h("form", { class: "bar", onsubmit: (event) => {
    event.preventDefault();
    location.hash = "/entries?" + query({ map: search.map.value.trim(), key: search.key.value.trim() });
  } }, h("input", { name: "map", placeholder: "map", value: map ?? "", size: 34, "aria-label": "map" }),
    h("input", { name: "key", placeholder: "key contains", value: key ?? "", size: 24, "aria-label": "key contains" }), h("button", null, "Find"));
  return [h("h1", null, map ? `Transactions that wrote to ${map}` : "Transactions"), search,
    table(["#transaction", "wrote to", "#bytes"], found.entries.map(line), found.next === null ? "None." : "None among those looked at; older ones remain."),
    pages(found.next, "/entries?" + query({ map, key, before: found.next }))];
}

function written(name, rows) {
  const lines = rows.rows.map((row) => h("tr", { class: row.removed ? "gone" : null }, h("td", { class: "mono" }, row.key),
    h("td", null, row.removed ? "removed" : value(row.value)), h("td", { class: "number" }, row.removed ? "" : count(row.bytes))));
  return [h("h2", null, link(`/entries?${query({ map: name })}`, name)), table(["key", "value", "#bytes"], lines, "Nothing."),
    rows.count > rows.rows.length && h("p", { class: "faint" }, `… and ${count(rows.count - rows.rows.length)} more.`)];
}

async function entry([seqno]) {
  const e = await ask(`api/entry/${encodeURIComponent(seqno)}`);
  const proof = h("section", null, h("p", { class: "faint" }, "…"));
  ask(`api/proof/${e.seqno}`).then(picture).then((parts) => proof.replaceChildren(...[parts].flat()),
    (error) => proof.replaceChildren(h("p", { class: "error" }, error.message)));
  return [
    h("h1", null, `Transaction ${e.txid}`),
    h("div", { class: "bar" }, link(`/entry/${e.seqno - 1}`, "← before"), link(`/entry/${e.seqno + 1}`, "after →"),
      e.signature && h("span", { class: "tag sig" }, "signature"),
      h("a", { href: `api/receipt/${e.seqno}`, download: `receipt_${e.txid}.json` }, "receipt")),
    facts([["type", e.type], ["size", `${count(e.size)} bytes`], ["file", `${e.file} (${e.committed_file ? "committed" : "not committed"})`],
      ["flags", e.flags.length ? e.flags.join(", ") : null], ["write set digest", mono(e.write_set_digest)],
      ["commit evidence digest", e.evidence_digest && mono(e.evidence_digest)], ["claims digest", e.claims_digest && mono(e.claims_digest)],
      ["leaf", mono(e.leaf)], ["covered by", e.covered_by === null ? h("span", { class: "warm" }, "no signature yet") : link(`/entry/${e.covered_by}`, String(e.covered_by))],
      ["private", e.private_size ? (e.private_open ? `${count(e.private_size)} bytes, shown below` : `${count(e.private_size)} bytes, closed: start with --enc-key`) : "nothing"]]),
    Object.entries(e.maps).map(([name, rows]) => written(name, rows)),
    h("h2", { id: "proof" }, "Proof"), proof,
  ];
}

async function maps() {
  const { maps: found } = await ask("api/maps");
  return [h("h1", null, "Maps"), table(["map", "#transactions", "#last"], found.map((m) => h("tr", null,
    h("td", null, link(`/entries?${query({ map: m.name })}`, m.name)), h("td", { class: "number" }, count(m.entries)),
    h("td", { class: "number" }, link(`/entry/${m.last}`, count(m.last))))), "No map was written yet.")];
}

async function governance(_, asked) {
  const found = await ask("api/governance?" + query({ before: asked.get("before"), count: PAGE }));
  return [h("h1", null, "Governance"), found.events.length ? h("ol", { class: "timeline" }, found.events.map((event) => h("li", null,
    link(`/entry/${event.seqno}`, event.txid), " ", h("strong", null, brief(event.title)), event.detail && h("div", { class: "faint" }, brief(event.detail)))))
    : h("p", { class: "faint" }, "Nothing was decided yet."), pages(found.next, "/governance?" + query({ before: found.next }))];
}

// The status, and the rest for who wants it.
function about(info) {
  if (info === null) return "";
  const { status, ...rest } = typeof info === "object" ? info : { status: null, info };
  return [status, Object.keys(rest).length > 0 && h("details", null, h("summary", null, Object.keys(rest).join(", ")), value(rest))];
}

// Identifiers are long: their beginnings do, the whole is in the title.
const brief = (text) => text.split(/([0-9a-f]{64})/).map((part, i) => (i % 2 ? h("span", { class: "mono", title: part }, short(part, 12)) : part));

async function people() {
  const found = await ask("api/people");
  const roll = (title, rows) => [h("h2", null, title), table(["id", "what the service knows", "certificate", "#since"], rows.map((one) => h("tr", null,
    h("td", { class: "whole" }, h("span", { class: "mono", title: one.id }, short(one.id))), h("td", null, about(one.info)),
    h("td", null, certificate(one.certificate)), h("td", { class: "number" }, link(`/entry/${one.since}`, count(one.since))))), "None.")];
  return [h("h1", null, "Members and nodes"), roll("Members", found.members), roll("Nodes", found.nodes), roll("Users", found.users)];
}

const PAGES = { "": overview, entries, entry, maps, governance, people };
let shown = 0;

async function show() {
  const turn = ++shown;
  const [path, asked] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/");
  for (const a of document.querySelectorAll("nav a"))
    a.classList.toggle("here", a.getAttribute("href") === "#/" + (name === "entry" ? "entries" : name));
  let parts;
  try {
    const make = PAGES[name];
    if (!make) throw new Error("There is no such page.");
    parts = await make(rest, new URLSearchParams(asked ?? ""));
  } catch (error) {
    parts = [h("h1", null, "Not found"), h("p", { class: "error" }, error.message)];
  }
  if (turn !== shown) return;
  page.replaceChildren(...parts.flat(Infinity).filter((part) => part instanceof Node));
  window.scrollTo(0, 0);
}

async function watch() {
  const verdict = document.getElementById("verdict");
  try {
    const o = await ask("api/overview");
    const v = o.verification;
    if (v.state === "valid") { verdict.className = "good"; verdict.textContent = v.proven ? `verified up to ${v.proven}` : "valid, nothing signed yet"; }
    else if (v.state === "invalid") {
      verdict.className = "bad";
      verdict.replaceChildren("NOT VALID: ", v.fault_seqno ? link(`/entry/${v.fault_seqno}`, `entry ${v.fault_seqno}`) : "", ` ${v.fault}`);
    } else verdict.textContent = o.complete ? `verifying: ${count(v.seqno)}` : `reading: ${count(o.last)}`;
    if (v.state !== "valid" && v.state !== "invalid") setTimeout(watch, LOOK_MS);
  } catch {
    verdict.className = "bad";
    verdict.textContent = "the explorer has ended";
  }
}

document.getElementById("goto").addEventListener("submit", (event) => {
  event.preventDefault();
  const seqno = document.getElementById("seqno").value.trim().replace(/^\d+\./, "");
  if (/^\d+$/.test(seqno)) location.hash = `/entry/${seqno}`;
});
window.addEventListener("hashchange", show);
show();
watch();
