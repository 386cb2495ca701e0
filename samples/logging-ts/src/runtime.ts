// The runtime's global object, with what the package does not declare.

import { ccf } from "@microsoft/ccf-app/global.js";

declare module "@microsoft/ccf-app/global.js" {
  interface CCF {
    /** Hex SHA-256 of the DER of a certificate: the id of its user or member. */
    pemToId(pem: string): string;
  }
}

export { ccf };
