// Records in a table: key and value are the JSON of id and message.

import { json, typedKv, type KvMap, type KvMaps, type TypedKvMap } from "@microsoft/ccf-app";
import { notFound } from "./answers";
import type { LogRecord } from "./input";

export interface Page {
  readonly records: LogRecord[];
  /** Id to go on with; null: that was all. */
  readonly next: number | null;
}

export class Records {
  readonly #table: TypedKvMap<number, string>;

  /** Takes a table of this transaction or of a historical one. */
  constructor(table: KvMap) {
    this.#table = typedKv(table, json<number>(), json<string>());
  }

  /** The records of a table; those of a scope are in a table of their own. */
  static of(kv: KvMaps, table: string, scope: string | undefined): Records {
    const map = kv[scope === undefined ? table : `${table}-${scope}`];
    if (map === undefined) {
      throw new Error("tables always exist");
    }
    return new Records(map);
  }

  has(id: number): boolean {
    return this.#table.has(id);
  }

  /** The message of a record; refuses with 404 if there is none. */
  get(id: number): string {
    const found = this.#table.get(id);
    if (found === undefined) {
      throw notFound(`There is no record ${id}`);
    }
    return found;
  }

  put({ id, msg }: LogRecord): void {
    this.#table.set(id, msg);
  }

  remove(id: number): void {
    this.get(id);
    this.#table.delete(id);
  }

  clear(): void {
    this.#table.clear();
  }

  get count(): number {
    return this.#table.size;
  }

  /** Records from an id on, in order. */
  list(from: number, limit: number): Page {
    const rows: LogRecord[] = [];
    this.#table.forEach((msg, id) => {
      if (id >= from) {
        rows.push({ id, msg });
      }
    });
    rows.sort((a, b) => a.id - b.id);
    return { records: rows.slice(0, limit), next: rows[limit]?.id ?? null };
  }
}
