// Who is calling, as far as the service can tell.

import type { AuthnIdentity, Request } from "@microsoft/ccf-app";
import { endpoint, unauthenticated } from "./answers";

const AGE_MIN = 16;

interface Caller {
  readonly policy: string;
  readonly id?: string;
  readonly data?: unknown;
}

export const whoami = endpoint((request) => {
  const { policy, id, data } = request.caller as Caller;
  return { policy, id: id ?? null, data: data ?? null };
});

/**
 * A policy of this application's own: callers say who they are, and must be old enough. Nobody
 * should do this. It shows how an endpoint looks at a request and refuses it.
 */
function byHeaders({ headers }: Request): { name: string; age: number } {
  const explode = headers["x-custom-auth-explode"];
  if (explode !== undefined) {
    throw new Error(explode);
  }
  const header = (name: string): string => {
    const value = headers[name];
    if (value === undefined) {
      throw unauthenticated(`Missing required header ${name}`);
    }
    return value;
  };
  const name = header("x-custom-auth-name");
  const age = header("x-custom-auth-age");
  if (name === "") {
    throw unauthenticated("Caller name must not be empty");
  }
  if (!/^[0-9]{1,3}$/.test(age)) {
    throw unauthenticated("Caller age must be a number");
  }
  if (Number(age) < AGE_MIN) {
    throw unauthenticated(`Caller age must be at least ${AGE_MIN}`);
  }
  return { name, age: Number(age) };
}

export const customAuth = endpoint((request) => {
  const caller = byHeaders(request);
  return { ...caller, description: `Your name is ${caller.name} and you are ${caller.age}` };
});

const pretty = (value: unknown) => JSON.stringify(value ?? null, null, 2);

const party = (kind: string, caller: { id: string; data: unknown; cert: string }) => [
  `The caller is a ${kind} with ID: ${caller.id}`,
  `The caller's ${kind} data is: ${pretty(caller.data)}`,
  "The caller's cert is:",
  caller.cert,
];

const SIGNED = "The caller is identified by a COSE Sign1";

/** A caller in words. */
function describe(caller: AuthnIdentity): string[] {
  switch (caller.policy) {
    case "user_cert":
      return ["User TLS cert", ...party("user", caller)];
    case "member_cert":
      return ["Member TLS cert", ...party("member", caller)];
    case "any_cert":
      return ["Any TLS cert", "The caller's cert is:", caller.cert];
    case "jwt":
      return [
        "JWT",
        `The caller is identified by a JWT issued by: ${caller.jwt.keyIssuer}`,
        `The JWT header is:\n${pretty(caller.jwt.header)}`,
        `The JWT payload is:\n${pretty(caller.jwt.payload)}`,
      ];
    case "user_cose_sign1":
    case "member_cose_sign1":
      return [
        "User COSE Sign1",
        `${SIGNED} signed by kid: ${caller.id}`,
        `${SIGNED} with content of size: ${caller.cose.content.byteLength}`,
      ];
    case "no_auth":
      return ["Unauthenticated", "The caller did not provide any authenticated identity"];
    default: {
      // All of several policies: the caller by each of them is under the policy's name.
      const parts = [caller.user_cert, caller.jwt, caller.user_cose_sign1];
      const known = parts.filter((part) => part !== undefined);
      return [`Conjoined auth policy: ${caller.policy.join("+")}`, ...known.flatMap(describe)];
    }
  }
}

/** Who the caller is, by the first of seven policies that knows. */
export const multiAuth = endpoint((request) => {
  if (request.caller === undefined) {
    throw new Error("one of the policies welcomes everybody");
  }
  return describe(request.caller).join("\n");
});
