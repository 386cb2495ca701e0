// How a handler's result, or its refusal, becomes an HTTP answer.

import type { Request, Response } from "@microsoft/ccf-app";

/** Thrown by a handler to give another answer than 200 with its result. */
abstract class OtherAnswer extends Error {
  abstract answer(): Response;
}

/** A request that is not served, with the status and the error code the caller gets. */
export class Refusal extends OtherAnswer {
  constructor(
    readonly statusCode: 400 | 401 | 403 | 404 | 415,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  answer(): Response {
    return {
      statusCode: this.statusCode,
      body: { error: { code: this.code, message: this.message } },
    };
  }
}

/** Not an error: what was asked for is being fetched, the caller should ask again. */
export class AskAgain extends OtherAnswer {
  answer(): Response {
    return { statusCode: 202, headers: { "retry-after": "1" }, body: this.message };
  }
}

export const invalid = (message: string) => new Refusal(400, "InvalidInput", message);

export const unauthenticated = (message: string) =>
  new Refusal(401, "InvalidAuthenticationInfo", message);

export const forbidden = (message: string) => new Refusal(403, "AuthorizationFailed", message);

export const notFound = (message: string) => new Refusal(404, "ResourceNotFound", message);

export const wrongType = (message: string) => new Refusal(415, "UnsupportedContentType", message);

export type Result = boolean | number | string | object;

/**
 * Make an endpoint of a handler: what it returns is sent with status 200, a text as it is, anything
 * else as JSON. With a status of 4xx nothing that was written before the refusal is kept. Anything
 * else that is thrown is a defect of this application, left to the runtime, which answers 500.
 */
export function endpoint(handler: (request: Request) => Result) {
  return (request: Request): Response => {
    try {
      return { body: handler(request) };
    } catch (e) {
      if (e instanceof OtherAnswer) {
        return e.answer();
      }
      throw e;
    }
  };
}
