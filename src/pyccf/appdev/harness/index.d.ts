// Types of "@pyccf/test". Put this file where your compiler finds it.

declare module "@pyccf/test" {
  type Bytes = ArrayBuffer | ArrayBufferView;
  /** Texts and bytes as they are, anything else as its JSON. */
  type Content = string | Bytes | number | boolean | null | object;

  interface Caller {
    policy: string;
    id?: string;
    data?: unknown;
    cert?: string;
    cose?: { content: string };
    jwt?: { keyIssuer: string; header: object; payload: object };
  }

  interface AllOfCaller {
    policy: string[];
    [policy: string]: unknown;
  }

  interface Options {
    headers?: Record<string, string | number>;
    query?: Record<string, string | number | boolean>;
    body?: Content;
    /** The name of a policy, or what `request.caller` shall be; null for nobody. */
    caller?: string | Caller | AllOfCaller | null;
  }

  interface Response {
    status: number;
    ok: boolean;
    headers: Record<string, string>;
    body: ArrayBuffer;
    /** The transaction it became; null if nothing was written. */
    txid: string | null;
    claimsDigest?: ArrayBuffer;
    text(): string;
    json(): any;
  }

  interface Client {
    as(caller: string | Caller | AllOfCaller | null): Client;
    request(verb: string, path: string, options?: Options): Response;
    get(path: string, options?: Options): Response;
    put(path: string, options?: Options): Response;
    post(path: string, options?: Options): Response;
    patch(path: string, options?: Options): Response;
    delete(path: string, options?: Options): Response;
    head(path: string, options?: Options): Response;
    options(path: string, options?: Options): Response;
  }

  interface Tables {
    /** A row: JSON if it is that, else text if it is that, else bytes. */
    get(table: string, key: Content): any;
    raw(table: string, key: Content): ArrayBuffer | undefined;
    has(table: string, key: Content): boolean;
    set(table: string, key: Content, value: Content): void;
    delete(table: string, key: Content): void;
    entries(table: string): [any, any][];
    size(table: string): number;
    tables(): string[];
  }

  interface History {
    add(tables: Record<string, Record<string, Content> | Map<Content, Content>>): string;
    state(txid: string): any;
    fetching(times: number): void;
    last(): string;
  }

  type Body = () => void | Promise<void>;

  interface Define<B> {
    (name: string, body: B): void;
    only(name: string, body: B): void;
    skip(name: string, body?: B): void;
    each<T>(cases: readonly T[]): (name: string, body: (...given: any[]) => any) => void;
  }

  interface DefineTest extends Define<() => unknown> {
    todo(name: string): void;
  }

  interface Matchers<R> {
    not: Matchers<R>;
    toBe(value: unknown): R;
    toEqual(value: unknown): R;
    toStrictEqual(value: unknown): R;
    toBeNull(): R;
    toBeUndefined(): R;
    toBeDefined(): R;
    toBeTruthy(): R;
    toBeFalsy(): R;
    toBeNaN(): R;
    toBeGreaterThan(limit: number | bigint): R;
    toBeGreaterThanOrEqual(limit: number | bigint): R;
    toBeLessThan(limit: number | bigint): R;
    toBeLessThanOrEqual(limit: number | bigint): R;
    toBeCloseTo(value: number, digits?: number): R;
    toBeInstanceOf(type: Function): R;
    toBeTypeOf(type: string): R;
    toBeOneOf(values: Iterable<unknown>): R;
    toContain(part: unknown): R;
    toContainEqual(part: unknown): R;
    toHaveLength(length: number): R;
    toHaveProperty(path: string | (string | number)[], value?: unknown): R;
    toMatch(form: string | RegExp): R;
    toMatchObject(value: object): R;
    toHaveStatus(status: number): R;
    toThrow(error?: string | RegExp | Function | Error): R;
    toThrowError(error?: string | RegExp | Function | Error): R;
    toHaveBeenCalled(): R;
    toHaveBeenCalledTimes(times: number): R;
    toHaveBeenCalledWith(...given: unknown[]): R;
  }

  interface Expectation extends Matchers<void> {
    resolves: Matchers<Promise<void>>;
    rejects: Matchers<Promise<void>>;
  }

  interface Expect {
    (actual: unknown): Expectation;
    anything(): unknown;
    any(type: Function): unknown;
    objectContaining(members: object): unknown;
    arrayContaining(items: unknown[]): unknown;
    stringContaining(part: string): unknown;
    stringMatching(form: string | RegExp): unknown;
    assertions(count: number): void;
    hasAssertions(): void;
    fail(message?: string): never;
  }

  interface Mock {
    (...given: any[]): any;
    calls: any[][];
    mockReset(): void;
    mockReturnValue(value: unknown): Mock;
    mockImplementation(other: (...given: any[]) => unknown): Mock;
  }

  export const app: Client;
  export const kv: Tables;
  export const history: History;
  export const describe: Define<() => void>;
  export const it: DefineTest;
  export const test: DefineTest;
  export const expect: Expect;
  export function fn(implementation?: (...given: any[]) => unknown): Mock;
  export function beforeAll(body: Body): void;
  export function beforeEach(body: Body): void;
  export function afterEach(body: Body): void;
  export function afterAll(body: Body): void;
}
