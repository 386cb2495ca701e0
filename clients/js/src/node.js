/**
 * Connecting from Node: TLS that trusts the service certificate and nothing else, and shows the
 * certificate of a user or member.
 */

import { readFile } from "node:fs/promises";
import { Agent, request } from "node:https";

import { Client } from "./client.js";
import { TooLate } from "./errors.js";
import { Identity } from "./identity.js";

const TIMEOUT_MS = 10_000;
const BODY_MAX = 256 * 1024 * 1024;

/**
 * Carries requests over TLS with Node's own client. Without an agent of one's own the service
 * certificate must be given: Node would trust every public authority instead.
 */
export function byNode({ serviceCertificate, certificate, key, agent }) {
  if (agent === undefined && !serviceCertificate) throw new TypeError("give the service certificate, which is all that is trusted");
  agent ??= new Agent({ ca: serviceCertificate, cert: certificate, key, keepAlive: true });
  const carry = (method, url, headers, body, timeoutMs = TIMEOUT_MS) =>
    new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { "content-length": String(body.length) };
      const asked = request(url, { method, headers: { ...headers, ...length }, agent });
      // Of the whole answer: one that trickles in would never be idle for so long.
      const late = setTimeout(() => {
        reject(new TooLate(`No answer from ${url} within ${timeoutMs} ms`));
        asked.destroy();
      }, timeoutMs);
      asked.on("close", () => clearTimeout(late));
      asked.on("error", reject);
      asked.on("response", (answer) => {
        const chunks = [];
        let size = 0;
        answer.on("data", (chunk) => {
          size += chunk.length;
          if (size > BODY_MAX) answer.destroy(new Error(`the answer is larger than ${BODY_MAX} bytes`));
          else chunks.push(chunk);
        });
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({ status: answer.statusCode, headers: answer.headers, body: new Uint8Array(Buffer.concat(chunks)) }),
        );
      });
      asked.end(body);
    });
  carry.close = () => agent.destroy();
  return carry;
}

/** A client, from paths of PEM files. */
export async function connect(url, { serviceCert, cert, key, ...options }) {
  const [serviceCertificate, certificate, secret] = await Promise.all(
    [serviceCert, cert, key].map((path) => (path === undefined ? undefined : readFile(path, "utf8"))),
  );
  const identity = certificate && secret ? await Identity.load(certificate, secret) : undefined;
  const carry = byNode({ serviceCertificate, certificate, key: secret });
  const client = new Client({ url, carry, serviceCertificate, identity, ...options });
  client.close = carry.close;
  return client;
}
