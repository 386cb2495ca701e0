// Who is calling, as far as the service can tell.

import { endpoint } from "./answers.js";

export const whoami = endpoint((request) => {
  const { policy, id, data } = request.caller;
  return { policy, id: id ?? null, data: data ?? null };
});
