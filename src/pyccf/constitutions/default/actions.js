// What members may decide: one entry of `actions` per action a proposal can name.
//
// This file is the first part of a constitution. The parts are joined into one module, in the
// order actions, further actions, validate, resolve, apply, so that everything declared here is
// at hand below. An action checks its arguments in `validate(args)`, which must not write, and
// takes effect in `apply(args, proposalId)`.
//
// Parts that others wrote begin with `actions.set(name, new Action(validate, apply))` and call the
// checks by the names they have here: these names and their arguments stay.

class Action {
  constructor(validate, apply) {
    this.validate = validate;
    this.apply = apply;
  }
}

const actions = new Map();

function define(name, validate, apply) {
  actions.set(name, new Action(validate, apply));
}

// ---- Tables ---------------------------------------------------------------------------------

const GOV = "public:ccf.gov.";

const TABLE = {
  constitution: GOV + "constitution",
  serviceInfo: GOV + "service.info",
  serviceConfig: GOV + "service.config",
  proposalsInfo: GOV + "proposals_info",
  memberCerts: GOV + "members.certs",
  memberKeys: GOV + "members.encryption_public_keys",
  memberInfo: GOV + "members.info",
  memberAcks: GOV + "members.acks",
  memberHistory: GOV + "history",
  userCerts: GOV + "users.certs",
  userInfo: GOV + "users.info",
  nodeInfo: GOV + "nodes.info",
  nodeCerts: GOV + "nodes.endorsed_certificates",
  nodeCodeIds: GOV + "nodes.code_ids",
  snpMeasurements: GOV + "nodes.snp.measurements",
  snpHostData: GOV + "nodes.snp.host_data",
  snpEndorsements: GOV + "nodes.snp.uvm_endorsements",
  snpTcbVersions: GOV + "nodes.snp.tcb_versions",
  modules: GOV + "modules",
  modulesBytecode: GOV + "modules_quickjs_bytecode",
  modulesVersion: GOV + "modules_quickjs_version",
  interpreterFlush: GOV + "interpreter.flush",
  endpoints: GOV + "endpoints",
  runtimeOptions: GOV + "js_runtime_options",
  caBundles: GOV + "tls.ca_cert_bundles",
  jwtIssuers: GOV + "jwt.issuers",
  signatures: "public:ccf.internal.signatures",
};

// The key of tables that hold a single value.
function getSingletonKvKey() {
  return new ArrayBuffer(8);
}

function readJson(table, key) {
  const stored = ccf.kv[table].get(key);
  return stored === undefined ? undefined : ccf.bufToJsonCompatible(stored);
}

function writeJson(table, key, value) {
  ccf.kv[table].set(key, ccf.jsonCompatibleToBuf(value));
}

function readSingleton(table) {
  return readJson(table, getSingletonKvKey());
}

function writeSingleton(table, value) {
  writeJson(table, getSingletonKvKey(), value);
}

// A decision that changes who or what is trusted must not meet proposals that were written
// before it: these are dropped.
function invalidateOtherOpenProposals(proposalIdToRetain) {
  ccf.kv[TABLE.proposalsInfo].forEach((value, key) => {
    if (ccf.bufToStr(key) === proposalIdToRetain) {
      return;
    }
    const info = ccf.bufToJsonCompatible(value);
    if (info.state === "Open") {
      info.state = "Dropped";
      writeJson(TABLE.proposalsInfo, key, info);
    }
  });
}

// ---- Checks of arguments ----------------------------------------------------------------------

const missing = (value) => value === null || value === undefined;

// A type is a name that `typeof` knows, "array" or "integer"; with a question mark behind it the
// value may be left out.
function checkType(value, type, field) {
  let wanted = type;
  if (wanted.endsWith("?")) {
    if (missing(value)) {
      return;
    }
    wanted = wanted.slice(0, -1);
  }
  if (wanted === "array") {
    if (!Array.isArray(value)) {
      throw new Error(`${field} must be an array`);
    }
  } else if (wanted === "integer") {
    if (!Number.isInteger(value)) {
      throw new Error(`${field} must be an integer`);
    }
  } else if (typeof value !== wanted) {
    throw new Error(`${field} must be of type ${wanted} but is ${typeof value}`);
  }
}

function checkEnum(value, allowed, field) {
  if (!allowed.includes(value)) {
    throw new Error(`${field} must be one of ${allowed}`);
  }
}

// Both bounds belong to the range; null stands for no bound. What was left out passes.
function checkBounds(value, low, high, field) {
  if (low !== null && value < low) {
    throw new Error(`${field} must be greater than ${low}`);
  }
  if (high !== null && value > high) {
    throw new Error(`${field} must be lower than ${high}`);
  }
}

// Of anything that has a length; parts written for earlier versions call it.
function checkLength(value, low, high, field) {
  if (low !== null && value.length < low) {
    throw new Error(`${field} must be an array of minimum ${low} elements`);
  }
  if (high !== null && value.length > high) {
    throw new Error(`${field} must be an array of maximum ${high} elements`);
  }
}

function checkArrayLength(value, low, high, field) {
  checkType(value, "array", field);
  checkLength(value, low, high, field);
}

// Texts of errors are those that members' tools know.
function checkNone(args) {
  if (!missing(args)) {
    throw new Error(`Proposal does not accept any argument, found "${args}"`);
  }
}

const ENTITY_ID_LENGTH = 64;

function checkEntityId(value, field) {
  checkType(value, "string", field);
  if (value.length !== ENTITY_ID_LENGTH) {
    throw new Error(`${field} must contain exactly ${ENTITY_ID_LENGTH} characters`);
  }
  if (!/^[0-9a-fA-F]+$/.test(value)) {
    throw new Error(`${field} contains non-hexadecimal character`);
  }
}

function checkX509CertBundle(value, field) {
  if (!ccf.crypto.isValidX509CertBundle(value)) {
    throw new Error(`${field} must be a valid X509 certificate (bundle) in PEM format`);
  }
}

function hexStrToBuf(text) {
  const bytes = new Uint8Array(Math.ceil(text.length / 2));
  for (let at = 0; at < text.length; at += 2) {
    const pair = text.slice(at, at + 2);
    if (pair.length !== 2) {
      throw new Error("Hex string invalid: length must be multiple of 2");
    }
    if (!/^[0-9a-fA-F]{2}$/.test(pair)) {
      throw new Error(`Hex string invalid: Non-hex character ${pair}`);
    }
    bytes[at / 2] = parseInt(pair, 16);
  }
  return bytes.buffer;
}

function equalBytes(left, right) {
  const a = new Uint8Array(left);
  const b = new Uint8Array(right);
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

const CPUID_SIZE = 4;
const TCB_VERSION_SIZE = 8;

function checkLowerHex(value, size, field) {
  checkType(value, "string", field);
  if (value !== value.toLowerCase()) {
    throw new Error(`${field} must be a lowercase hex string: ${value}`);
  }
  if (hexStrToBuf(value).byteLength !== size) {
    throw new Error(`${field} must convert to exactly ${size} bytes`);
  }
}

function checkValidCpuid(value, field) {
  checkLowerHex(value, CPUID_SIZE, field);
}

function checkValidTcbVersionHex(value, field) {
  checkLowerHex(value, TCB_VERSION_SIZE, field);
}

function checkJwks(value, field) {
  checkType(value, "object", field);
  checkType(value.keys, "array", `${field}.keys`);
  value.keys.forEach((jwk, at) => {
    const path = `${field}.keys[${at}]`;
    checkType(jwk.kid, "string", `${path}.kid`);
    checkType(jwk.kty, "string", `${path}.kty`);
    if (jwk.x5c) {
      checkArrayLength(jwk.x5c, 1, null, `${path}.x5c`);
      jwk.x5c.forEach((der, index) => {
        const item = `${path}.x5c[${index}]`;
        checkType(der, "string", item);
        checkX509CertBundle(pemOfDer(der), item);
      });
    } else if (jwk.n && jwk.e) {
      checkType(jwk.n, "string", `${path}.n`);
      checkType(jwk.e, "string", `${path}.e`);
    } else if (jwk.x && jwk.y) {
      checkType(jwk.x, "string", `${path}.x`);
      checkType(jwk.y, "string", `${path}.y`);
      checkType(jwk.crv, "string", `${path}.crv`);
    } else {
      throw new Error(
        "JWK must contain either x5c, or n/e for RSA key type, or x/y/crv for EC key type",
      );
    }
  });
}

function pemOfDer(base64) {
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function checkValidity(args) {
  checkType(args.valid_from, "string", "valid_from");
  checkType(args.validity_period_days, "integer?", "validity_period_days");
  checkBounds(args.validity_period_days ?? undefined, 1, null, "validity_period_days");
}

// ---- Constitution, members, users -------------------------------------------------------------

define(
  "set_constitution",
  (args) => {
    checkType(args.constitution, "string", "constitution");
    ccf.gov.validateConstitution(args.constitution);
  },
  (args, proposalId) => {
    writeSingleton(TABLE.constitution, args.constitution);
    invalidateOtherOpenProposals(proposalId);
  },
);

const RECOVERY_ROLES = ["NonParticipant", "Participant", "Owner"];

// Members who may receive a share: Active, and with a key to encrypt it to.
function getActiveRecoveryMembersCount() {
  let count = 0;
  ccf.kv[TABLE.memberKeys].forEach((_, memberId) => {
    if (readJson(TABLE.memberInfo, memberId)?.status === "Active") {
      count += 1;
    }
  });
  return count;
}

define(
  "set_member",
  (args) => {
    checkX509CertBundle(args.cert, "cert");
    checkType(args.member_data, "object?", "member_data");
    checkType(args.encryption_pub_key, "string?", "encryption_pub_key");
    if (!missing(args.recovery_role)) {
      checkEnum(args.recovery_role, RECOVERY_ROLES, "recovery_role");
      if (missing(args.encryption_pub_key)) {
        throw new Error(
          "Cannot specify a recovery_role value when encryption_pub_key is not specified",
        );
      }
    }
  },
  (args) => {
    const key = ccf.strToBuf(ccf.pemToId(args.cert));
    ccf.kv[TABLE.memberCerts].set(key, ccf.strToBuf(args.cert));
    if (missing(args.encryption_pub_key)) {
      ccf.kv[TABLE.memberKeys].delete(key);
    } else {
      ccf.kv[TABLE.memberKeys].set(key, ccf.strToBuf(args.encryption_pub_key));
    }
    writeJson(TABLE.memberInfo, key, {
      member_data: args.member_data,
      recovery_role: args.recovery_role,
      status: "Accepted",
    });
    // The new member will sign the state as of the last signature.
    writeJson(TABLE.memberAcks, key, { state_digest: readSingleton(TABLE.signatures).root });
  },
);

define(
  "remove_member",
  (args) => checkEntityId(args.member_id, "member_id"),
  (args) => {
    const key = ccf.strToBuf(args.member_id);
    const info = readJson(TABLE.memberInfo, key);
    if (info === undefined) {
      return;
    }
    const holdsShare = info.status === "Active" && ccf.kv[TABLE.memberKeys].has(key);
    if (holdsShare) {
      const left = getActiveRecoveryMembersCount() - 1;
      const threshold = readSingleton(TABLE.serviceConfig).recovery_threshold;
      if (left < threshold) {
        throw new Error(
          `Number of active recovery members (${left}) would be less than ` +
            `recovery threshold (${threshold})`,
        );
      }
    }
    const tables = [
      TABLE.memberInfo,
      TABLE.memberKeys,
      TABLE.memberCerts,
      TABLE.memberAcks,
      TABLE.memberHistory,
    ];
    tables.forEach((table) => ccf.kv[table].delete(key));
    if (holdsShare) {
      // The leaver's share must not open what is written from now on.
      ccf.node.triggerLedgerRekey();
    }
  },
);

define(
  "set_member_data",
  (args) => {
    checkEntityId(args.member_id, "member_id");
    checkType(args.member_data, "object", "member_data");
  },
  (args) => {
    const key = ccf.strToBuf(args.member_id);
    const info = readJson(TABLE.memberInfo, key);
    if (info === undefined) {
      throw new Error(`Member ${args.member_id} does not exist`);
    }
    info.member_data = args.member_data;
    writeJson(TABLE.memberInfo, key, info);
  },
);

function writeUserData(key, data) {
  if (missing(data)) {
    ccf.kv[TABLE.userInfo].delete(key);
  } else {
    writeJson(TABLE.userInfo, key, { user_data: data });
  }
}

define(
  "set_user",
  (args) => {
    checkX509CertBundle(args.cert, "cert");
    checkType(args.user_data, "object?", "user_data");
  },
  (args) => {
    const key = ccf.strToBuf(ccf.pemToId(args.cert));
    ccf.kv[TABLE.userCerts].set(key, ccf.strToBuf(args.cert));
    writeUserData(key, args.user_data);
  },
);

define(
  "remove_user",
  (args) => checkEntityId(args.user_id, "user_id"),
  (args) => {
    const key = ccf.strToBuf(args.user_id);
    ccf.kv[TABLE.userCerts].delete(key);
    ccf.kv[TABLE.userInfo].delete(key);
  },
);

define(
  "set_user_data",
  (args) => {
    checkEntityId(args.user_id, "user_id");
    checkType(args.user_data, "object?", "user_data");
  },
  (args) => writeUserData(ccf.strToBuf(args.user_id), args.user_data),
);

// ---- Service ----------------------------------------------------------------------------------

const RECOVERY_THRESHOLD_MAX = 254;
const RECENT_PROPOSALS_MAX = 10000;

function checkReconfigurationType(config, change) {
  const from = config.reconfiguration_type;
  const to = change.reconfiguration_type;
  if (to === undefined || to === from) {
    return;
  }
  const fromOne = from === undefined || from === "OneTransaction";
  if (!fromOne || to !== "TwoTransaction") {
    throw new Error(`Cannot change reconfiguration type from ${from} to ${to}.`);
  }
}

function checkRecoveryThreshold(config, change) {
  const to = change.recovery_threshold;
  if (to === undefined || to === config.recovery_threshold) {
    return;
  }
  const service = readSingleton(TABLE.serviceInfo);
  if (service === undefined) {
    throw new Error("Service information could not be found");
  }
  if (service.status === "WaitingForRecoveryShares") {
    throw new Error(
      "Cannot set recovery threshold if service is WaitingForRecoveryShares",
    );
  }
  if (service.status === "Open") {
    const holders = getActiveRecoveryMembersCount();
    if (to > holders) {
      throw new Error(
        `Cannot set recovery threshold to ${to}: recovery threshold would be greater than ` +
          `the number of recovery members ${holders}`,
      );
    }
  }
}

function updateServiceConfig(change) {
  const config = readSingleton(TABLE.serviceConfig);
  if (config === undefined) {
    throw new Error("Service configuration could not be found");
  }
  checkReconfigurationType(config, change);
  checkRecoveryThreshold(config, change);

  const thresholdBefore = config.recovery_threshold;
  for (const [name, value] of Object.entries(change)) {
    if (value !== undefined) {
      config[name] = value;
    }
  }
  writeSingleton(TABLE.serviceConfig, config);
  if (config.recovery_threshold !== thresholdBefore) {
    ccf.node.triggerRecoverySharesRefresh();
  }
}

define(
  "set_recovery_threshold",
  (args) => {
    checkType(args.recovery_threshold, "integer", "threshold");
    checkBounds(args.recovery_threshold, 1, RECOVERY_THRESHOLD_MAX, "threshold");
  },
  (args) => updateServiceConfig({ recovery_threshold: args.recovery_threshold }),
);

const CONFIGURABLE = {
  reconfiguration_type: (value) => checkType(value, "string?", "reconfiguration type"),
  recovery_threshold: (value) => {
    checkType(value, "integer?", "recovery threshold");
    checkBounds(value, 1, RECOVERY_THRESHOLD_MAX, "recovery threshold");
  },
  recent_cose_proposals_window_size: (value) => {
    checkType(value, "integer?", "recent cose proposals window size");
    checkBounds(value, 1, RECENT_PROPOSALS_MAX, "recent cose proposals window size");
  },
};

define(
  "set_service_configuration",
  (args) => {
    for (const name of Object.keys(args)) {
      if (!Object.hasOwn(CONFIGURABLE, name)) {
        throw new Error(`Cannot change ${name} via set_service_configuration.`);
      }
    }
    for (const [name, check] of Object.entries(CONFIGURABLE)) {
      check(args[name]);
    }
  },
  (args) => updateServiceConfig(args),
);

define("trigger_recovery_shares_refresh", checkNone, () =>
  ccf.node.triggerRecoverySharesRefresh(),
);

define("trigger_ledger_rekey", checkNone, () => ccf.node.triggerLedgerRekey());

define(
  "trigger_ledger_chunk",
  () => {},
  () => ccf.node.triggerLedgerChunk(),
);

define(
  "trigger_snapshot",
  () => {},
  () => ccf.node.triggerSnapshot(),
);

define(
  "transition_service_to_open",
  (args) => {
    const next = args.next_service_identity;
    const previous = args.previous_service_identity;
    checkType(next, "string", "next service identity (PEM certificate)");
    checkX509CertBundle(next, "next_service_identity");
    checkType(previous, "string?", "previous service identity (PEM certificate)");
    if (!missing(previous)) {
      checkX509CertBundle(previous, "previous_service_identity");
    }
  },
  (args) => {
    const service = readSingleton(TABLE.serviceInfo);
    if (service === undefined) {
      throw new Error("Service information could not be found");
    }
    const unnamed = missing(args.previous_service_identity);
    if (service.status === "Recovering" && unnamed) {
      throw new Error(
        "Opening a recovering network requires both, the previous and the next service identity",
      );
    }
    ccf.node.transitionServiceToOpen(
      unnamed ? undefined : ccf.strToBuf(args.previous_service_identity),
      ccf.strToBuf(args.next_service_identity),
    );
  },
);

define(
  "assert_service_identity",
  (args) => {
    checkX509CertBundle(args.service_identity, "service_identity");
    if (readSingleton(TABLE.serviceInfo)?.cert !== args.service_identity) {
      throw new Error("Service identity certificate mismatch");
    }
  },
  () => {},
);

// ---- JavaScript application ---------------------------------------------------------------------

const ENDPOINT_MODES = ["readwrite", "readonly", "historical"];
const FORWARDING = ["sometimes", "always", "never"];
const REDIRECTIONS = ["none", "to_primary", "to_backup"];

function checkAuthnPolicies(policies, path) {
  checkType(policies, "array", path);
  policies.forEach((policy, at) => {
    const item = `${path}[${at}]`;
    if (typeof policy === "string") {
      return;
    }
    if (typeof policy !== "object" || policy === null) {
      throw new Error(`${item} must be of type string or object but is ${typeof policy}`);
    }
    checkType(policy.all_of, "array", `${item}.all_of`);
    policy.all_of.forEach((name, index) => checkType(name, "string", `${item}.all_of[${index}]`));
  });
}

function checkEndpoint(endpoint, path, bundle) {
  checkType(endpoint, "object", path);
  checkType(endpoint.js_module, "string", `${path}.js_module`);
  checkType(endpoint.js_function, "string", `${path}.js_function`);
  checkEnum(endpoint.mode, ENDPOINT_MODES, `${path}.mode`);
  checkEnum(endpoint.forwarding_required, FORWARDING, `${path}.forwarding_required`);
  if (endpoint.redirection_strategy !== undefined) {
    checkEnum(endpoint.redirection_strategy, REDIRECTIONS, `${path}.redirection_strategy`);
  }
  checkAuthnPolicies(endpoint.authn_policies, `${path}.authn_policies`);
  checkType(endpoint.openapi, "object?", `${path}.openapi`);
  checkType(endpoint.openapi_hidden, "boolean?", `${path}.openapi_hidden`);
  if (!bundle.modules.some((module) => module.name === endpoint.js_module)) {
    throw new Error(`module '${endpoint.js_module}' not found in bundle`);
  }
}

function checkBundle(bundle) {
  checkType(bundle, "object", "bundle");
  checkType(bundle.modules, "array", "bundle.modules");
  bundle.modules.forEach((module, at) => {
    const path = `bundle.modules[${at}]`;
    checkType(module, "object", path);
    checkType(module.name, "string", `${path}.name`);
    checkType(module.module, "string", `${path}.module`);
  });
  checkType(bundle.metadata, "object", "bundle.metadata");
  checkType(bundle.metadata.endpoints, "object", "bundle.metadata.endpoints");
  for (const [url, methods] of Object.entries(bundle.metadata.endpoints)) {
    const path = `bundle.metadata.endpoints["${url}"]`;
    checkType(methods, "object", path);
    for (const [method, endpoint] of Object.entries(methods)) {
      checkEndpoint(endpoint, `${path}["${method}"]`, bundle);
    }
  }
}

define(
  "set_js_app",
  (args) => {
    checkBundle(args.bundle);
    checkType(args.disable_bytecode_cache, "boolean?", "disable_bytecode_cache");
  },
  (args) => {
    const rooted = (name) => (name.startsWith("/") ? name : `/${name}`);
    const modules = ccf.kv[TABLE.modules];
    modules.clear();
    ccf.kv[TABLE.endpoints].clear();
    for (const { name, module } of args.bundle.modules) {
      modules.set(ccf.strToBuf(rooted(name)), ccf.strToBuf(module));
    }
    if (args.disable_bytecode_cache) {
      ccf.kv[TABLE.modulesBytecode].clear();
      ccf.kv[TABLE.modulesVersion].clear();
    } else {
      ccf.refreshAppBytecodeCache();
    }
    writeSingleton(TABLE.interpreterFlush, true);
    for (const [url, methods] of Object.entries(args.bundle.metadata.endpoints)) {
      for (const [method, endpoint] of Object.entries(methods)) {
        const key = ccf.strToBuf(`${method.toUpperCase()} ${url}`);
        const js_module = rooted(endpoint.js_module);
        writeJson(TABLE.endpoints, key, { ...endpoint, js_module });
      }
    }
  },
);

define(
  "remove_js_app",
  () => {},
  () => {
    const tables = [
      TABLE.modules,
      TABLE.modulesBytecode,
      TABLE.modulesVersion,
      TABLE.interpreterFlush,
      TABLE.endpoints,
    ];
    tables.forEach((table) => ccf.kv[table].clear());
  },
);

define(
  "set_js_runtime_options",
  (args) => {
    checkType(args.max_heap_bytes, "integer", "max_heap_bytes");
    checkType(args.max_stack_bytes, "integer", "max_stack_bytes");
    checkType(args.max_execution_time_ms, "integer", "max_execution_time_ms");
    checkType(args.log_exception_details, "boolean?", "log_exception_details");
    checkType(args.return_exception_details, "boolean?", "return_exception_details");
    checkType(args.max_cached_interpreters, "integer?", "max_cached_interpreters");
  },
  (args) => writeSingleton(TABLE.runtimeOptions, args),
);

define(
  "refresh_js_app_bytecode_cache",
  () => {},
  () => ccf.refreshAppBytecodeCache(),
);

// ---- Trusted authorities and token issuers ------------------------------------------------------

define(
  "set_ca_cert_bundle",
  (args) => {
    checkType(args.name, "string", "name");
    checkX509CertBundle(args.cert_bundle, "cert_bundle");
  },
  (args) => writeJson(TABLE.caBundles, ccf.strToBuf(args.name), args.cert_bundle),
);

define(
  "remove_ca_cert_bundle",
  (args) => checkType(args.name, "string", "name"),
  (args) => ccf.kv[TABLE.caBundles].delete(ccf.strToBuf(args.name)),
);

// The parts of a URL (RFC 3986 B); what is absent is undefined.
function parseUrl(url) {
  const parts = /^(?:([^:/?#]+):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?/s.exec(url);
  const [, scheme, authority, path, query, fragment] = parts;
  return { scheme, authority, path, query, fragment };
}

// Keys are fetched below this URL, over TLS only.
function checkRefreshableIssuer(issuer) {
  const { scheme, authority, query, fragment } = parseUrl(issuer);
  if (scheme !== "https" || !authority) {
    throw new Error("issuer must be a URL starting with https:// if auto_refresh is true");
  }
  if (query !== undefined || fragment !== undefined) {
    throw new Error("issuer must be a URL without query/fragment if auto_refresh is true");
  }
}

define(
  "set_jwt_issuer",
  (args) => {
    checkType(args.issuer, "string", "issuer");
    checkType(args.auto_refresh, "boolean?", "auto_refresh");
    checkType(args.ca_cert_bundle_name, "string?", "ca_cert_bundle_name");
    checkType(args.jwks, "object?", "jwks");
    if (!missing(args.jwks)) {
      checkJwks(args.jwks, "jwks");
    }
    if (args.auto_refresh) {
      if (!args.ca_cert_bundle_name) {
        throw new Error("ca_cert_bundle_name is missing but required if auto_refresh is true");
      }
      checkRefreshableIssuer(args.issuer);
    }
  },
  (args) => {
    if (args.auto_refresh) {
      const name = args.ca_cert_bundle_name;
      if (!ccf.kv[TABLE.caBundles].has(ccf.strToBuf(name))) {
        throw new Error(`No CA cert bundle found with name '${name}'`);
      }
    }
    const { jwks, ...metadata } = args;
    if (!missing(jwks)) {
      ccf.setJwtPublicSigningKeys(args.issuer, metadata, jwks);
    }
    writeJson(TABLE.jwtIssuers, ccf.strToBuf(args.issuer), metadata);
  },
);

define(
  "set_jwt_public_signing_keys",
  (args) => {
    checkType(args.issuer, "string", "issuer");
    checkJwks(args.jwks, "jwks");
  },
  (args) => {
    const metadata = readJson(TABLE.jwtIssuers, ccf.strToBuf(args.issuer));
    if (metadata === undefined) {
      throw new Error(`issuer ${args.issuer} not found`);
    }
    ccf.setJwtPublicSigningKeys(args.issuer, metadata, args.jwks);
  },
);

define(
  "remove_jwt_issuer",
  (args) => checkType(args.issuer, "string", "issuer"),
  (args) => {
    const key = ccf.strToBuf(args.issuer);
    if (ccf.kv[TABLE.jwtIssuers].has(key)) {
      ccf.kv[TABLE.jwtIssuers].delete(key);
      ccf.removeJwtPublicSigningKeys(args.issuer);
    }
  },
);

// ---- Which programs may join --------------------------------------------------------------------

function allowToJoin(table, id) {
  writeJson(table, ccf.strToBuf(id), "AllowedToJoin");
}

function defineMeasurementActions(what, table, add, remove) {
  define(
    add,
    (args) => checkType(args[what], "string", what),
    (args, proposalId) => {
      allowToJoin(table, args[what]);
      invalidateOtherOpenProposals(proposalId);
    },
  );
  define(
    remove,
    (args) => checkType(args[what], "string", what),
    (args) => ccf.kv[table].delete(ccf.strToBuf(args[what])),
  );
}

defineMeasurementActions("code_id", TABLE.nodeCodeIds, "add_node_code", "remove_node_code");
defineMeasurementActions(
  "measurement",
  TABLE.snpMeasurements,
  "add_snp_measurement",
  "remove_snp_measurement",
);

define(
  "add_snp_uvm_endorsement",
  (args) => {
    checkType(args.did, "string", "did");
    checkType(args.feed, "string", "feed");
    checkType(args.svn, "string", "svn");
  },
  (args, proposalId) => {
    const key = ccf.strToBuf(args.did);
    const feeds = readJson(TABLE.snpEndorsements, key) ?? {};
    feeds[args.feed] = { svn: args.svn };
    writeJson(TABLE.snpEndorsements, key, feeds);
    invalidateOtherOpenProposals(proposalId);
  },
);

define(
  "remove_snp_uvm_endorsement",
  (args) => {
    checkType(args.did, "string", "did");
    checkType(args.feed, "string", "feed");
  },
  (args) => {
    const key = ccf.strToBuf(args.did);
    const feeds = readJson(TABLE.snpEndorsements, key) ?? {};
    delete feeds[args.feed];
    if (Object.keys(feeds).length === 0) {
      ccf.kv[TABLE.snpEndorsements].delete(key);
    } else {
      writeJson(TABLE.snpEndorsements, key, feeds);
    }
  },
);

define(
  "add_snp_host_data",
  (args) => {
    checkType(args.security_policy, "string", "security_policy");
    checkType(args.host_data, "string", "host_data");
    if (args.security_policy === "") {
      return;
    }
    const digest = ccf.crypto.digest("SHA-256", ccf.strToBuf(args.security_policy));
    const expected = hexStrToBuf(args.host_data);
    if (!equalBytes(digest, expected)) {
      throw new Error(
        `The hash of raw policy ${ccf.bufToStr(digest)} does not match digest ` +
          ccf.bufToStr(expected),
      );
    }
  },
  (args, proposalId) => {
    writeJson(TABLE.snpHostData, ccf.strToBuf(args.host_data), args.security_policy);
    invalidateOtherOpenProposals(proposalId);
  },
);

define(
  "remove_snp_host_data",
  (args) => checkType(args.host_data, "string", "host_data"),
  (args) => ccf.kv[TABLE.snpHostData].delete(ccf.strToBuf(args.host_data)),
);

const TCB_COMPONENTS = ["boot_loader", "tee", "snp", "microcode"];

define(
  "set_snp_minimum_tcb_version",
  (args) => {
    checkValidCpuid(args.cpuid, "cpuid");
    checkType(args.tcb_version, "object", "tcb_version");
    for (const name of TCB_COMPONENTS) {
      checkType(args.tcb_version?.[name], "number", `tcb_version.${name}`);
    }
  },
  (args, proposalId) => {
    writeJson(TABLE.snpTcbVersions, ccf.strToBuf(args.cpuid), args.tcb_version);
    invalidateOtherOpenProposals(proposalId);
  },
);

define(
  "set_snp_minimum_tcb_version_hex",
  (args) => {
    checkValidCpuid(args.cpuid, "cpuid");
    checkValidTcbVersionHex(args.tcb_version, "tcb_version");
  },
  (args, proposalId) => {
    const minimum = ccf.tcbHexToPolicy(args.cpuid, args.tcb_version);
    writeJson(TABLE.snpTcbVersions, ccf.strToBuf(args.cpuid), minimum);
    invalidateOtherOpenProposals(proposalId);
  },
);

define(
  "remove_snp_minimum_tcb_version",
  (args) => checkValidCpuid(args.cpuid, "cpuid"),
  (args) => {
    const key = ccf.strToBuf(args.cpuid);
    if (!ccf.kv[TABLE.snpTcbVersions].has(key)) {
      throw new Error(`CPUID ${args.cpuid} not found`);
    }
    ccf.kv[TABLE.snpTcbVersions].delete(key);
  },
);

// ---- Nodes --------------------------------------------------------------------------------------

const VALIDITY_DAYS_DEFAULT = 365;

function maximumNodeValidityDays() {
  const config = readSingleton(TABLE.serviceConfig);
  return config?.maximum_node_certificate_validity_days ?? VALIDITY_DAYS_DEFAULT;
}

function allowedDays(days, most) {
  if (missing(days)) {
    return most;
  }
  if (days > most) {
    throw new Error(
      `Validity period ${days} (days) is not allowed: service max allowed is ${most} (days)`,
    );
  }
  return days;
}

function endorseNode(key, info, validFrom, days) {
  const cert = ccf.network.generateEndorsedCertificate(
    info.certificate_signing_request,
    validFrom,
    days,
  );
  ccf.kv[TABLE.nodeCerts].set(key, ccf.strToBuf(cert));
}

function setNodeCertificateValidityPeriod(nodeId, info, validFrom, days) {
  if (info.certificate_signing_request === undefined) {
    throw new Error(`Node ${nodeId} has no certificate signing request`);
  }
  endorseNode(ccf.strToBuf(nodeId), info, validFrom, allowedDays(days, maximumNodeValidityDays()));
}

function setServiceCertificateValidityPeriod(validFrom, days) {
  const config = readSingleton(TABLE.serviceConfig);
  const most = config?.maximum_service_certificate_validity_days ?? VALIDITY_DAYS_DEFAULT;
  const granted = allowedDays(days, most);
  const service = readSingleton(TABLE.serviceInfo);
  if (service === undefined) {
    throw new Error("Service information could not be found");
  }
  service.cert = ccf.network.generateNetworkCertificate(validFrom, granted);
  writeSingleton(TABLE.serviceInfo, service);
}

define(
  "set_node_data",
  (args) => checkEntityId(args.node_id, "node_id"),
  (args) => {
    const key = ccf.strToBuf(args.node_id);
    const info = readJson(TABLE.nodeInfo, key);
    if (info === undefined) {
      // The text shows the key as an object; clients of the original know it so.
      throw new Error(`Node ${key} does not exist`);
    }
    info.node_data = args.node_data;
    writeJson(TABLE.nodeInfo, key, info);
  },
);

define(
  "transition_node_to_trusted",
  (args) => {
    checkEntityId(args.node_id, "node_id");
    checkValidity(args);
  },
  (args) => {
    const key = ccf.strToBuf(args.node_id);
    const info = readJson(TABLE.nodeInfo, key);
    if (info === undefined) {
      throw new Error(`No such node: ${args.node_id}`);
    }
    if (info.status !== "Pending") {
      return;
    }
    info.status = "Trusted";
    info.ledger_secret_seqno = ccf.network.getLatestLedgerSecretSeqno();
    writeJson(TABLE.nodeInfo, key, info);
    if (info.certificate_signing_request === undefined) {
      return;
    }
    const most = maximumNodeValidityDays();
    const days = args.validity_period_days ?? most;
    if (days > most) {
      throw new Error(`Validity period ${days} is not allowed: max allowed is ${most}`);
    }
    endorseNode(key, info, args.valid_from, days);
  },
);

define(
  "remove_node",
  (args) => checkEntityId(args.node_id, "node_id"),
  (args) => {
    const key = ccf.strToBuf(args.node_id);
    const info = readJson(TABLE.nodeInfo, key);
    if (info === undefined) {
      return;
    }
    if (info.status === "Pending") {
      ccf.kv[TABLE.nodeInfo].delete(key);
    } else {
      info.status = "Retired";
      writeJson(TABLE.nodeInfo, key, info);
    }
  },
);

define(
  "set_node_certificate_validity",
  (args) => {
    checkEntityId(args.node_id, "node_id");
    checkValidity(args);
  },
  (args) => {
    const key = ccf.strToBuf(args.node_id);
    const info = readJson(TABLE.nodeInfo, key);
    if (info === undefined) {
      throw new Error(`No such node: ${args.node_id}`);
    }
    if (info.status !== "Trusted") {
      throw new Error(`Node ${args.node_id} is not trusted`);
    }
    const { node_id, valid_from, validity_period_days } = args;
    setNodeCertificateValidityPeriod(node_id, info, valid_from, validity_period_days);
  },
);

define("set_all_nodes_certificate_validity", checkValidity, (args) => {
  const { valid_from, validity_period_days } = args;
  ccf.kv[TABLE.nodeInfo].forEach((value, key) => {
    const info = ccf.bufToJsonCompatible(value);
    if (info.status === "Trusted") {
      const nodeId = ccf.bufToStr(key);
      setNodeCertificateValidityPeriod(nodeId, info, valid_from, validity_period_days);
    }
  });
});

define("set_service_certificate_validity", checkValidity, (args) =>
  setServiceCertificateValidityPeriod(args.valid_from, args.validity_period_days),
);
