// Who is calling, as far as the service can tell.

import { endpoint, unauthenticated } from "./answers.js";

const AGE_MIN = 16;

export const whoami = endpoint((request) => {
  const { policy, id, data } = request.caller;
  return { policy, id: id ?? null, data: data ?? null };
});

/**
 * A policy of this application's own: callers say who they are, and must be old enough. Nobody
 * should do this. It shows how an endpoint looks at a request and refuses it.
 */
function byHeaders({ headers }) {
  if (headers["x-custom-auth-explode"] !== undefined) {
    throw new Error(headers["x-custom-auth-explode"]);
  }
  for (const name of ["x-custom-auth-name", "x-custom-auth-age"]) {
    if (headers[name] === undefined) {
      throw unauthenticated(`Missing required header ${name}`);
    }
  }
  const { "x-custom-auth-name": name, "x-custom-auth-age": age } = headers;
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

const pretty = (value) => JSON.stringify(value ?? null, null, 2);

const party = (title, kind) => (caller) => [
  title,
  `The caller is a ${kind} with ID: ${caller.id}`,
  `The caller's ${kind} data is: ${pretty(caller.data)}`,
  "The caller's cert is:",
  caller.cert,
];

/** A caller in words, by policy. */
const DESCRIBED = {
  user_cert: party("User TLS cert", "user"),
  member_cert: party("Member TLS cert", "member"),
  any_cert: ({ cert }) => ["Any TLS cert", "The caller's cert is:", cert],
  jwt: ({ jwt }) => [
    "JWT",
    `The caller is identified by a JWT issued by: ${jwt.keyIssuer}`,
    `The JWT header is:\n${pretty(jwt.header)}`,
    `The JWT payload is:\n${pretty(jwt.payload)}`,
  ],
  user_cose_sign1: ({ id, cose }) => [
    "User COSE Sign1",
    `The caller is identified by a COSE Sign1 signed by kid: ${id}`,
    `The caller is identified by a COSE Sign1 with content of size: ${cose.content.byteLength}`,
  ],
  no_auth: () => ["Unauthenticated", "The caller did not provide any authenticated identity"],
};

function describe(caller) {
  if (Array.isArray(caller.policy)) {
    // All of several policies: the caller by each of them is under the policy's name.
    const parts = caller.policy.flatMap((policy) => DESCRIBED[policy](caller[policy]));
    return [`Conjoined auth policy: ${caller.policy.join("+")}`, ...parts];
  }
  return DESCRIBED[caller.policy](caller);
}

/** Who the caller is, by the first of seven policies that knows. */
export const multiAuth = endpoint((request) => describe(request.caller).join("\n"));
