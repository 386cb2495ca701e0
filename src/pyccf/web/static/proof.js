// A Merkle proof as a picture, computed again by this browser.

import { h, svg, mono, facts, short } from "./dom.js";

const WIDTH = 178, HEIGHT = 30, LEVEL = 74, GAP = 44;

const toBytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const toHex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");

async function sha256(...hexes) {
  return toHex(await crypto.subtle.digest("SHA-256", toBytes(hexes.join(""))));
}

// From the leaf upwards: [{own, sibling, left}], where the next own is the hash of both.
export async function climb(proof) {
  const parts = [proof.write_set_digest, proof.evidence_digest, proof.claims_digest].filter(Boolean);
  const leaf = parts.length > 1 ? await sha256(...parts) : proof.write_set_digest;
  const steps = [];
  let own = leaf;
  for (const { left, hash } of proof.path) {
    steps.push({ own, sibling: hash, left });
    own = left ? await sha256(hash, own) : await sha256(own, hash);
  }
  return { leaf, steps, root: own, holds: leaf === proof.leaf && own === proof.root };
}

export async function picture(proof) {
  if (proof.is_signature)
    return h("p", null, "This entry is the signature itself: the node signed the root ", mono(proof.root), ".");
  const climbed = await climb(proof);
  const detail = h("div", { class: "detail" });
  const levels = climbed.steps.length;
  const total = levels * LEVEL + HEIGHT + 70;
  const width = 2 * WIDTH + 3 * GAP + 40;
  const parts = [];
  const boxes = [];
  const middle = width / 2;

  const box = (kind, x, y, hash, told) => {
    const group = svg("g", { class: `hash ${kind}`, transform: `translate(${x - WIDTH / 2} ${y})`, tabindex: 0, role: "button" },
      svg("title", null, hash), svg("rect", { width: WIDTH, height: HEIGHT, rx: 6 }),
      svg("text", { x: WIDTH / 2, y: 20, "text-anchor": "middle" }, short(hash, 20)));
    const choose = () => {
      boxes.forEach((other) => other.classList.toggle("chosen", other === group));
      detail.replaceChildren(facts([["hash", mono(hash)], ["is", told]]));
    };
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
    boxes.push(group);
    return group;
  };

  // Own hashes stay in the middle of the pair they belong to; pairs are drawn above each other.
  let y = total - HEIGHT - 34;
  let told = "the leaf: SHA-256 of write set digest, commit evidence digest and claims digest";
  let kind = "own";
  let ownX = middle;
  climbed.steps.forEach(({ own, sibling, left }, i) => {
    const shift = (WIDTH + GAP) / 2;
    ownX = middle + (left ? shift : -shift);
    const siblingX = middle + (left ? -shift : shift);
    const parentX = i + 1 < levels ? middle + (climbed.steps[i + 1].left ? shift : -shift) : middle;
    parts.push(svg("path", { d: `M ${ownX} ${y} C ${ownX} ${y - 24}, ${parentX} ${y - 20}, ${parentX} ${y - LEVEL + HEIGHT}` }));
    parts.push(svg("path", { d: `M ${siblingX} ${y} C ${siblingX} ${y - 24}, ${parentX} ${y - 20}, ${parentX} ${y - LEVEL + HEIGHT}` }));
    parts.push(box(kind, ownX, y, own, told));
    parts.push(box("sibling", siblingX, y, sibling, `its neighbour on the ${left ? "left" : "right"}, part of the proof`));
    y -= LEVEL;
    kind = "";
    told = "SHA-256 of the two hashes below it, left then right";
  });
  parts.push(box("root", middle, y, climbed.root, `the root, signed at ${proof.signed_txid} by node ${proof.node}` + (proof.cose ? ", and by the service (COSE)" : "")));
  parts.push(svg("text", { class: "note", x: middle, y: y - 10, "text-anchor": "middle" }, `root, signed at ${proof.signed_txid}`));
  parts.push(svg("text", { class: "note", x: ownX === middle || !levels ? middle : (climbed.steps[0].left ? middle + (WIDTH + GAP) / 2 : middle - (WIDTH + GAP) / 2), y: total - 14, "text-anchor": "middle" }, `leaf of ${proof.txid}`));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${total}`, width, height: total, role: "img", "aria-label": `Merkle proof of ${proof.txid}` }, parts);
  boxes[0]?.dispatchEvent(new Event("click"));
  return [
    h("p", { id: "proof-verdict", class: climbed.holds ? "good" : "bad" }, climbed.holds
      ? `Computed again in this browser: the ${levels} steps lead from the entry to the signed root.`
      : "Computed again in this browser, the steps do NOT lead to the root that was signed."),
    h("figure", null, drawing), h("p", null), detail,
  ];
}
