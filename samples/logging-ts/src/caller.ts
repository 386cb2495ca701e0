// Who is calling, as far as the service can tell.

import { endpoint } from "./answers";

interface Caller {
  readonly policy: string;
  readonly id?: string;
  readonly data?: unknown;
}

export const whoami = endpoint((request) => {
  const { policy, id, data } = request.caller as Caller;
  return { policy, id: id ?? null, data: data ?? null };
});
