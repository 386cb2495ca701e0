export { Client, Reply, byFetch } from "./client.js";
export { InvalidReceipt, NotCommitted, ServiceError, TooLate } from "./errors.js";
export { Identity } from "./identity.js";
export { verifyReceipt } from "./receipt.js";
