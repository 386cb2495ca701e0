// How a handler's result, or its refusal, becomes an HTTP answer.

/** A request that is not served, with the status and the error code the caller gets. */
export class Refusal extends Error {
  constructor(statusCode, code, message) {
    super(message);
    this.statusCode = statusCode;
    this.code = code;
  }

  answer() {
    return {
      statusCode: this.statusCode,
      body: { error: { code: this.code, message: this.message } },
    };
  }
}

/** Not an error: what was asked for is being fetched, the caller should ask again. */
export class AskAgain extends Error {
  answer() {
    return {
      statusCode: 202,
      headers: { "retry-after": "1" },
      body: this.message,
    };
  }
}

export function invalid(message) {
  return new Refusal(400, "InvalidInput", message);
}

export function unauthenticated(message) {
  return new Refusal(401, "InvalidAuthenticationInfo", message);
}

export function forbidden(message) {
  return new Refusal(403, "AuthorizationFailed", message);
}

export function notFound(message) {
  return new Refusal(404, "ResourceNotFound", message);
}

export function wrongType(message) {
  return new Refusal(415, "UnsupportedContentType", message);
}

/**
 * Make an endpoint of a handler: what it returns is sent with status 200, a text as it is, anything
 * else as JSON. With a status of 4xx nothing that was written before the refusal is kept. Anything
 * else that is thrown is a defect of this application, left to the runtime, which answers 500.
 */
export function endpoint(handler) {
  return (request) => {
    try {
      return { body: handler(request) };
    } catch (e) {
      if (e instanceof Refusal || e instanceof AskAgain) {
        return e.answer();
      }
      throw e;
    }
  };
}
