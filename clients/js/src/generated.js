// Made by generate.py out of the OpenAPI documents of a service. Do not edit.

const at = (value) => {
  if (value === undefined || value === "") {
    throw new TypeError("a path parameter is missing");
  }
  return encodeURIComponent(value);
};

/** Every operation of a service; a subclass carries the requests. */
export class Endpoints {
  /** This document */
  getNodeApi() {
    return this.answer("GET", "/node/api", {});
  }

  getNodeAttestations() {
    return this.answer("GET", "/node/attestations", {});
  }

  getNodeAttestationsSelf() {
    return this.answer("GET", "/node/attestations/self", {});
  }

  getNodeBackup() {
    return this.answer("GET", "/node/backup", {});
  }

  /** Last transaction that is committed for good */
  getNodeCommit(params) {
    return this.answer("GET", "/node/commit", { view_history: params?.view_history, view_history_since: params?.view_history_since });
  }

  getNodeConfig() {
    return this.answer("GET", "/node/config", {});
  }

  getNodeConsensus() {
    return this.answer("GET", "/node/consensus", {});
  }

  getNodeIndexStrategies() {
    return this.answer("GET", "/node/index/strategies", {});
  }

  getNodeJsMetrics() {
    return this.answer("GET", "/node/js_metrics", {});
  }

  getNodeJwtKeysRefreshMetrics() {
    return this.answer("GET", "/node/jwt_keys/refresh/metrics", {});
  }

  getNodeMemory() {
    return this.answer("GET", "/node/memory", {});
  }

  getNodeMetrics() {
    return this.answer("GET", "/node/metrics", {});
  }

  getNodeNetwork() {
    return this.answer("GET", "/node/network", {});
  }

  getNodeNetworkNodes(params) {
    return this.answer("GET", "/node/network/nodes", { host: params?.host, port: params?.port, status: params?.status });
  }

  getNodeNetworkNodesPrimary() {
    return this.answer("GET", "/node/network/nodes/primary", {});
  }

  getNodeNetworkNodesSelf() {
    return this.answer("GET", "/node/network/nodes/self", {});
  }

  getNodeNetworkNodesNodeId(params) {
    return this.answer("GET", `/node/network/nodes/${at(params.node_id)}`, {});
  }

  deleteNodeNetworkNodesNodeId(params) {
    return this.answer("DELETE", `/node/network/nodes/${at(params.node_id)}`, {});
  }

  getNodeNetworkRemovableNodes() {
    return this.answer("GET", "/node/network/removable_nodes", {});
  }

  getNodePrimary() {
    return this.answer("GET", "/node/primary", {});
  }

  headNodePrimary() {
    return this.answer("HEAD", "/node/primary", {});
  }

  getNodeQuotes() {
    return this.answer("GET", "/node/quotes", {});
  }

  getNodeQuotesSelf() {
    return this.answer("GET", "/node/quotes/self", {});
  }

  getNodeReadyApp() {
    return this.answer("GET", "/node/ready/app", {});
  }

  getNodeReadyGov() {
    return this.answer("GET", "/node/ready/gov", {});
  }

  /** Receipt of a committed transaction */
  getNodeReceipt(params) {
    return this.answer("GET", "/node/receipt", { transaction_id: params.transaction_id });
  }

  getNodeSelfSignedCertificate() {
    return this.answer("GET", "/node/self_signed_certificate", {});
  }

  getNodeServiceConfiguration() {
    return this.answer("GET", "/node/service/configuration", {});
  }

  getNodeServicePreviousIdentity() {
    return this.answer("GET", "/node/service/previous_identity", {});
  }

  getNodeState() {
    return this.answer("GET", "/node/state", {});
  }

  /** What is known of a transaction id */
  getNodeTx(params) {
    return this.answer("GET", "/node/tx", { transaction_id: params.transaction_id });
  }

  getNodeVersion() {
    return this.answer("GET", "/node/version", {});
  }

  /** All proposals that are kept */
  proposalsList() {
    return this.answer("GET", "/gov/members/proposals", { "api-version": "2024-07-01" });
  }

  /** One proposal */
  proposalsGet(params) {
    return this.answer("GET", `/gov/members/proposals/${at(params.proposalId)}`, { "api-version": "2024-07-01" });
  }

  /** A proposal as its proposer signed it */
  proposalsGetActions(params) {
    return this.answer("GET", `/gov/members/proposals/${at(params.proposalId)}/actions`, { "api-version": "2024-07-01" });
  }

  /** A member's ballot on a proposal */
  ballotsGet(params) {
    return this.answer("GET", `/gov/members/proposals/${at(params.proposalId)}/ballots/${at(params.memberId)}`, { "api-version": "2024-07-01" });
  }

  /** Vote on a proposal */
  ballotsSubmit(params, payload) {
    return this.signed(`/gov/members/proposals/${at(params.proposalId)}/ballots/${at(params.memberId)}:submit`, "ballot", payload, params.proposalId);
  }

  /** Withdraw an open proposal */
  proposalsWithdraw(params) {
    return this.signed(`/gov/members/proposals/${at(params.proposalId)}:withdraw`, "withdrawal", undefined, params.proposalId);
  }

  /** Make a proposal */
  proposalsCreate(payload) {
    return this.signed("/gov/members/proposals:create", "proposal", payload);
  }

  /** State digest that a member is to acknowledge */
  stateDigestsGet(params) {
    return this.answer("GET", `/gov/members/state-digests/${at(params.memberId)}`, { "api-version": "2024-07-01" });
  }

  /** Acknowledge the state of the service */
  stateDigestsAcknowledge(params, payload) {
    return this.signed(`/gov/members/state-digests/${at(params.memberId)}:ack`, "ack", payload);
  }

  /** Have a member acknowledge the latest signed state */
  stateDigestsUpdate(params) {
    return this.signed(`/gov/members/state-digests/${at(params.memberId)}:update`, "state_digest", undefined);
  }

  /** A member's encrypted recovery share */
  encryptedSharesGet(params) {
    return this.answer("GET", `/gov/recovery/encrypted-shares/${at(params.memberId)}`, { "api-version": "2024-07-01" });
  }

  /** Hand in a recovery share */
  sharesSubmit(params, payload) {
    return this.signed(`/gov/recovery/members/${at(params.memberId)}:recover`, "recovery_share", payload);
  }

  /** The constitution in force */
  serviceStateGetConstitution() {
    return this.answer("GET", "/gov/service/constitution", { "api-version": "2024-07-01" });
  }

  /** Status, identity and configuration of the service */
  serviceStateGetServiceInfo() {
    return this.answer("GET", "/gov/service/info", { "api-version": "2024-07-01" });
  }

  /** Endpoints of the JavaScript application */
  serviceStateGetJsApp(params) {
    return this.answer("GET", "/gov/service/javascript-app", { "api-version": "2024-07-01", case: params?.case });
  }

  /** Modules of the JavaScript application */
  serviceStateListJsModules() {
    return this.answer("GET", "/gov/service/javascript-modules", { "api-version": "2024-07-01" });
  }

  /** Source of a module of the JavaScript application */
  serviceStateGetJsModule(params) {
    return this.answer("GET", `/gov/service/javascript-modules/${at(params.moduleName)}`, { "api-version": "2024-07-01" });
  }

  /** Which programs may join the service */
  serviceStateGetJoinPolicies() {
    return this.answer("GET", "/gov/service/join-policy", { "api-version": "2024-07-01" });
  }

  /** Token issuers, their keys and trusted authorities */
  serviceStateGetJwkInfo() {
    return this.answer("GET", "/gov/service/jwk", { "api-version": "2024-07-01" });
  }

  /** All members */
  serviceStateListMembers() {
    return this.answer("GET", "/gov/service/members", { "api-version": "2024-07-01" });
  }

  /** One member */
  serviceStateGetMember(params) {
    return this.answer("GET", `/gov/service/members/${at(params.memberId)}`, { "api-version": "2024-07-01" });
  }

  /** All nodes */
  serviceStateListNodes() {
    return this.answer("GET", "/gov/service/nodes", { "api-version": "2024-07-01" });
  }

  /** One node */
  serviceStateGetNode(params) {
    return this.answer("GET", `/gov/service/nodes/${at(params.nodeId)}`, { "api-version": "2024-07-01" });
  }

  /** The last committed transaction */
  transactionsGetCommit() {
    return this.answer("GET", "/gov/service/transactions/commit", { "api-version": "2024-07-01" });
  }

  /** What is known of a transaction */
  transactionsGet(params) {
    return this.answer("GET", `/gov/service/transactions/${at(params.transactionId)}`, { "api-version": "2024-07-01" });
  }

  /** All users */
  serviceStateListUsers() {
    return this.answer("GET", "/gov/service/users", { "api-version": "2024-07-01" });
  }

  /** One user */
  serviceStateGetUser(params) {
    return this.answer("GET", `/gov/service/users/${at(params.userId)}`, { "api-version": "2024-07-01" });
  }

  /** This document */
  getAppApi() {
    return this.answer("GET", "/app/api", {});
  }

  /** Last transaction that is committed for good */
  getAppCommit(params) {
    return this.answer("GET", "/app/commit", { view_history: params?.view_history, view_history_since: params?.view_history_since });
  }

  /** Receipt of a committed transaction */
  getAppReceipt(params) {
    return this.answer("GET", "/app/receipt", { transaction_id: params.transaction_id });
  }

  /** What is known of a transaction id */
  getAppTx(params) {
    return this.answer("GET", "/app/tx", { transaction_id: params.transaction_id });
  }
}
