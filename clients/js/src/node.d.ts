import { Carry, Client, ClientOptions } from "./index.js";

/** Carries requests over TLS with Node's own client. All PEM text. */
export function byNode(options: {
  serviceCertificate?: string;
  certificate?: string;
  key?: string;
}): Carry & { close(): void };

/** A client that trusts the service certificate alone, from paths of PEM files. */
export function connect(
  url: string,
  options: {
    serviceCert: string;
    cert?: string;
    key?: string;
  } & Partial<Pick<ClientOptions, "token" | "timeoutMs" | "now">>,
): Promise<Client & { close(): void }>;
