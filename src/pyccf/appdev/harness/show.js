// Values as texts for messages, and their comparison.

const DEPTH_MAX = 5;
const ITEMS_MAX = 50;

/** A value as a person would write it, cut where it gets long. */
export function show(value, depth = 0, seen = new Set()) {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return `${value}n`;
    case "symbol":
      return value.toString();
    case "function":
      return value.name ? `[function ${value.name}]` : "[function]";
    case "object":
      break;
    default:
      return Object.is(value, -0) ? "-0" : String(value);
  }
  if (value === null) {
    return "null";
  }
  if (typeof value.describesItself === "function") {
    return value.describesItself();
  }
  if (seen.has(value)) {
    return "[circular]";
  }
  if (depth >= DEPTH_MAX) {
    return Array.isArray(value) ? "[…]" : "{…}";
  }
  return composed(value, depth + 1, new Set(seen).add(value));
}

function composed(value, depth, seen) {
  const inner = (item) => show(item, depth, seen);
  const some = (items, [open, close]) => {
    const told = items.slice(0, ITEMS_MAX);
    if (items.length > told.length) {
      told.push(`… ${items.length - told.length} more`);
    }
    return told.length ? `${open}${told.join(", ")}${close}` : open.trim() + close.trim();
  };
  if (value instanceof Error) {
    return `[${String(value)}]`;
  }
  if (value instanceof Date || value instanceof RegExp) {
    return value instanceof Date && Number.isNaN(value.getTime())
      ? "Invalid Date"
      : value instanceof Date
        ? value.toISOString()
        : String(value);
  }
  const bytes = bytesOf(value);
  if (bytes !== undefined) {
    const hex = [...bytes.slice(0, ITEMS_MAX)].map((b) => b.toString(16).padStart(2, "0")).join("");
    return `${nameOf(value)}(${bytes.length}) 0x${hex}${bytes.length > ITEMS_MAX ? "…" : ""}`;
  }
  if (Array.isArray(value)) {
    return some(Array.from(value, inner), ["[", "]"]);
  }
  if (value instanceof Map) {
    return some(
      [...value].map(([k, v]) => `${inner(k)} => ${inner(v)}`),
      ["Map {", "}"],
    );
  }
  if (value instanceof Set) {
    return some([...value].map(inner), ["Set {", "}"]);
  }
  const members = Object.keys(value).map((key) => {
    const name = /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(key) ? key : JSON.stringify(key);
    return `${name}: ${inner(value[key])}`;
  });
  const name = nameOf(value);
  return some(members, [name === "Object" || !name ? "{ " : `${name} { `, " }"]);
}

function nameOf(value) {
  return Object.getPrototypeOf(value)?.constructor?.name ?? "";
}

/** The bytes of a buffer or a view of one; undefined for anything else. */
export function bytesOf(value) {
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    return new Uint8Array(value);
  }
  return ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : undefined;
}

/**
 * Whether two values are alike in depth. Loosely, members that are undefined need not be there and
 * classes do not matter; strictly, they do.
 */
export function alike(a, b, strict = false, pairs = []) {
  if (typeof b?.matches === "function" && typeof b.describesItself === "function") {
    return b.matches(a);
  }
  if (Object.is(a, b)) {
    return true;
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return false;
  }
  if (pairs.some(([x, y]) => x === a && y === b)) {
    return true; // they are being compared further out
  }
  const deeper = [...pairs, [a, b]];
  const same = (x, y) => alike(x, y, strict, deeper);
  if (Object.prototype.toString.call(a) !== Object.prototype.toString.call(b)) {
    return false;
  }
  if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) {
    return false;
  }
  if (a instanceof Date) {
    return Object.is(a.getTime(), b.getTime());
  }
  if (a instanceof RegExp) {
    return String(a) === String(b);
  }
  if (a instanceof Error) {
    return a.name === b.name && a.message === b.message;
  }
  const bytes = bytesOf(a);
  if (bytes !== undefined) {
    const others = bytesOf(b);
    return bytes.length === others.length && bytes.every((byte, i) => byte === others[i]);
  }
  if (a instanceof Map) {
    return (
      a.size === b.size && [...a].every(([k, v]) => b.has(k) && same(v, b.get(k)))
    );
  }
  if (a instanceof Set) {
    const rest = [...b];
    return (
      a.size === b.size &&
      [...a].every((x) => {
        const at = rest.findIndex((y) => same(x, y));
        return at >= 0 && rest.splice(at, 1).length === 1;
      })
    );
  }
  return alikeMembers(a, b, strict, same);
}

function alikeMembers(a, b, strict, same) {
  if (Array.isArray(a) !== Array.isArray(b) || (Array.isArray(a) && a.length !== b.length)) {
    return false;
  }
  const keys = new Set([...membersOf(a), ...membersOf(b)]);
  for (const key of keys) {
    if (strict && Object.hasOwn(a, key) !== Object.hasOwn(b, key)) {
      return false;
    }
    if (!same(a[key], b[key])) {
      return false;
    }
  }
  return true;
}

function membersOf(value) {
  return Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key));
}
