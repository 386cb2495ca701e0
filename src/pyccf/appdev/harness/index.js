// What tests import as "@pyccf/test".

export { expect, fn } from "./test/expect.js";
export { app, history, kv } from "./test/service.js";
export {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  it,
  test,
} from "./test/suites.js";
