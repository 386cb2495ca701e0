// Made by generate.py out of the OpenAPI documents of a service. Do not edit.

export namespace NodeApi {
  type Attestation = { endorsements: base64string; format: QuoteFormat; measurement?: string; node_id: NodeId; raw: base64string; uvm_endorsements?: base64string };
  type Attestation_array = Array<Attestation>;
  type Authority = "Node" | "Service" | "ACME" | "Unsecured";
  type CCFError = { error?: { code?: string; message?: string } };
  type Configuration = { idx: uint64; nodes: NodeId_to_Configuration__NodeInfo; rid: uint64 };
  type Configuration__NodeInfo = { address: string };
  type Configuration_array = Array<Configuration>;
  type ConsensusConfigDetails = { details: ConsensusDetails };
  type ConsensusDetails = { acks: NodeId_to_ConsensusDetails__Ack; configs: Configuration_array; current_view: uint64; leadership_state?: LeadershipState; learners?: NodeId_to_uint64; membership_state: MembershipState; primary_id: NodeId; reconfiguration_type?: ReconfigurationType; retirement_phase?: RetirementPhase; ticking: boolean };
  type ConsensusDetails__Ack = { last_received_ms: uint64; seqno: uint64 };
  type ConsensusNodeConfig = { address: string };
  type ConsensusType = "CFT" | "BFT";
  type Endorsement = { authority: Authority };
  type GetAttestations__Out = { attestations: Attestation_array };
  type GetCommit__Out = { transaction_id: TransactionId; view_history?: TransactionId_array };
  type GetNetworkInfo__Out = { current_service_create_txid: TransactionId; current_view: uint64; primary_id: NodeId; recovery_count: uint64; service_certificate: Pem; service_data: json; service_status: ServiceStatus };
  type GetNode__NodeInfo = { last_written: uint64; node_data: json; node_id: NodeId; primary: boolean; rpc_interfaces: string_to_NodeInfoNetwork_v2__NetInterface; status: NodeStatus };
  type GetNode__NodeInfo_array = Array<GetNode__NodeInfo>;
  type GetNodes__Out = { nodes: GetNode__NodeInfo_array };
  type GetQuotes__Out = { quotes: Quote_array };
  type GetServicePreviousIdentity__Out = { previous_service_identity: Pem };
  type GetState__Out = { last_recovered_seqno?: uint64; last_signed_seqno: uint64; node_id: NodeId; recovery_target_seqno?: uint64; startup_seqno: uint64; state: ccf__NodeStartupState; stop_notice: boolean };
  type GetTxStatus__Out = { status: TxStatus; transaction_id: TransactionId };
  type GetVersion__Out = { ccf_version: string; quickjs_version: string; unsafe: boolean };
  type JWTRefreshMetrics = { attempts: uint64; failures: uint64; successes: uint64 };
  type JavaScriptMetrics = { bytecode_size: uint64; bytecode_used: boolean; max_cached_interpreters: uint64; max_execution_time: uint64; max_heap_size: uint64; max_stack_size: uint64 };
  type LeadershipState = "None" | "Leader" | "Follower" | "PreVoteCandidate" | "Candidate";
  type MembershipState = "Active" | "Retired";
  type MemoryUsage__Out = { current_allocated_heap_size: uint64; max_total_heap_size: uint64; peak_allocated_heap_size: uint64 };
  type NodeId = string;
  type NodeId_to_Configuration__NodeInfo = Record<string, Configuration__NodeInfo>;
  type NodeId_to_ConsensusDetails__Ack = Record<string, ConsensusDetails__Ack>;
  type NodeId_to_uint64 = Record<string, uint64>;
  type NodeInfoNetwork_v2__NetInterface = { accepted_endpoints?: string_array; app_protocol?: string; bind_address: string; endorsement?: Endorsement; forwarding_timeout_ms?: uint64; http_configuration?: ParserConfiguration; max_open_sessions_hard?: uint64; max_open_sessions_soft?: uint64; protocol?: string; published_address?: string; redirections?: NodeInfoNetwork_v2__NetInterface__Redirections };
  type NodeInfoNetwork_v2__NetInterface__Redirections = { to_backup?: RedirectionResolverConfig; to_primary?: RedirectionResolverConfig };
  type NodeMetrics = { sessions: SessionMetrics };
  type NodeStatus = "Pending" | "Trusted" | "Retired";
  type ParserConfiguration = { initial_window_size?: TimeString; max_body_size?: TimeString; max_concurrent_streams_count?: uint64; max_frame_size?: TimeString; max_header_size?: TimeString; max_headers_count?: uint32 };
  type Pem = string;
  type Quote = { endorsements: base64string; format: QuoteFormat; measurement?: string; node_id: NodeId; raw: base64string; uvm_endorsements?: base64string };
  type QuoteFormat = "OE_SGX_v1" | "Insecure_Virtual" | "AMD_SEV_SNP_v1";
  type Quote_array = Array<Quote>;
  type ReconfigurationType = "OneTransaction" | "TwoTransaction";
  type RedirectionResolutionKind = "NodeByRole" | "StaticAddress";
  type RedirectionResolverConfig = { kind: RedirectionResolutionKind; target?: json };
  type RetirementPhase = "Ordered" | "Signed" | "Completed" | "RetiredCommitted";
  type SelfSignedNodeCertificateInfo = { self_signed_certificate: Pem };
  type ServiceConfiguration = { consensus?: ConsensusType; maximum_node_certificate_validity_days?: uint64; maximum_service_certificate_validity_days?: uint64; recent_cose_proposals_window_size?: uint64; reconfiguration_type?: ReconfigurationType; recovery_threshold: uint64 };
  type ServiceStatus = "Opening" | "Open" | "WaitingForRecoveryShares" | "Recovering";
  type SessionMetrics = { active: uint64; interfaces: string_to_SessionMetrics__PerInterface; peak: uint64 };
  type SessionMetrics__Errors = { parsing: uint64; request_header_too_large: uint64; request_payload_too_large: uint64 };
  type SessionMetrics__PerInterface = { active: uint64; errors: SessionMetrics__Errors; hard_cap: uint64; peak: uint64; soft_cap: uint64 };
  type TimeString = string;
  type TransactionId = string;
  type TransactionId_array = Array<TransactionId>;
  type TxStatus = "Unknown" | "Pending" | "Committed" | "Invalid";
  type base64string = string;
  type ccf__NodeStartupState = "Uninitialized" | "Initialized" | "Pending" | "PartOfPublicNetwork" | "PartOfNetwork" | "ReadingPublicLedger" | "ReadingPrivateLedger";
  type json = unknown;
  type string_array = Array<string>;
  type string_to_ConsensusNodeConfig = Record<string, ConsensusNodeConfig>;
  type string_to_NodeInfoNetwork_v2__NetInterface = Record<string, NodeInfoNetwork_v2__NetInterface>;
  type string_to_SessionMetrics__PerInterface = Record<string, SessionMetrics__PerInterface>;
  type uint32 = number;
  type uint64 = number;
}

export namespace GovApi {
  type Acks_StateDigest = { memberId: memberId; stateDigest: stateDigest };
  type CCFError = { error?: { code?: string; message?: string } };
  type PagedJsModuleNames = { value: ServiceState_JsModuleNames_array };
  type PagedMember = { value: ServiceState_Member_array };
  type PagedNode = { value: ServiceState_Node_array };
  type PagedProposal = { value: Proposals_Proposal_array };
  type PagedUser = { value: ServiceState_User_array };
  type Proposals_Action = { args?: json; name: string };
  type Proposals_Action_array = Array<Proposals_Action>;
  type Proposals_FailureInfo = { reason: string; trace?: string };
  type Proposals_Proposal = { ballotCount: safeuint; failure?: Proposals_FailureInfo; finalVotes?: memberId_to_boolean; proposalId: proposalId; proposalState: Proposals_ProposalState; proposerId: memberId; voteFailures?: memberId_to_Proposals_FailureInfo };
  type Proposals_ProposalActions = { actions: Proposals_Action_array };
  type Proposals_ProposalState = "Open" | "Accepted" | "Withdrawn" | "Rejected" | "Failed" | "Dropped";
  type Proposals_Proposal_array = Array<Proposals_Proposal>;
  type Recovery_EncryptedRecoveryShare = { encryptedShare: base64; memberId: memberId };
  type Recovery_RecoveryResponse = { fullKeySubmitted: boolean; message: string; recoveryThreshold: safeuint; submittedCount: safeuint };
  type ServiceState_AuthnPolicy = (string) | ({ all_of: Array<string> });
  type ServiceState_AuthnPolicy_array = Array<ServiceState_AuthnPolicy>;
  type ServiceState_FeedInfo = { svn: string };
  type ServiceState_ForwardingRequired = "sometimes" | "always" | "never";
  type ServiceState_JoinPolicies = { sgx: ServiceState_JoinPolicy; snp: ServiceState_SnpJoinPolicy; virtual: ServiceState_VirtualJoinPolicy };
  type ServiceState_JoinPolicy = { measurements: string_array };
  type ServiceState_JsApp = { endpoints: path_to_verb_to_ServiceState_JsEndpoint };
  type ServiceState_JsEndpoint = (ServiceState_JsEndpointInfo) | (ServiceState_JsEndpointOriginal);
  type ServiceState_JsEndpointInfo = { authnPolicies: ServiceState_AuthnPolicy_array; forwardingRequired: ServiceState_ForwardingRequired; jsFunction: string; jsModule: string; mode: ServiceState_JsExecMode; openApi: json; redirectionStrategy: ServiceState_RedirectionStrategy };
  type ServiceState_JsEndpointOriginal = { js_function: string; js_module: string };
  type ServiceState_JsExecMode = "readwrite" | "readonly" | "historical";
  type ServiceState_JsModuleNames = { moduleName: string };
  type ServiceState_JsModuleNames_array = Array<ServiceState_JsModuleNames>;
  type ServiceState_Jwk = { constraint: nullableString; issuer: string; publicKey: ServiceState_pem };
  type ServiceState_JwkInfo = { caCertBundles: name_to_ServiceState_caCertBundle; issuers: issuer_to_ServiceState_JwtIssuer; keys: kid_to_ServiceState_Jwks };
  type ServiceState_Jwks = Array<ServiceState_Jwk>;
  type ServiceState_JwtIssuer = { autoRefresh: boolean; caCertBundleName?: string };
  type ServiceState_Member = { certificate?: ServiceState_pem; memberData: json; memberId: memberId; publicEncryptionKey?: ServiceState_pem; recoveryRole: ServiceState_RecoveryRole; status: ServiceState_MemberStatus };
  type ServiceState_MemberStatus = "Accepted" | "Active";
  type ServiceState_Member_array = Array<ServiceState_Member>;
  type ServiceState_NetworkInterface = { protocol?: string; publishedAddress: string };
  type ServiceState_Node = { certificate?: ServiceState_pem; nodeData: json; nodeId: nodeId; quoteInfo: ServiceState_QuoteInfo; retiredCommitted: boolean; rpcInterfaces: name_to_ServiceState_NetworkInterface; status: ServiceState_NodeStatus };
  type ServiceState_NodeStatus = "Pending" | "Trusted" | "Retired";
  type ServiceState_Node_array = Array<ServiceState_Node>;
  type ServiceState_QuoteInfo = (ServiceState_SgxQuoteInfo) | (ServiceState_SnpQuoteInfo) | (ServiceState_VirtualQuoteInfo);
  type ServiceState_RecoveryRole = "NonParticipant" | "Participant" | "Owner";
  type ServiceState_RedirectionStrategy = "none" | "to_primary" | "to_backup";
  type ServiceState_ServiceConfiguration = { maximumNodeCertificateValidityDays: safeuint; maximumServiceCertificateValidityDays: safeuint; recentCoseProposalsWindowSize: safeuint; recoveryThreshold: safeuint };
  type ServiceState_ServiceInfo = { certificate: ServiceState_pem; configuration?: ServiceState_ServiceConfiguration; creationTransactionId?: transactionId; previousServiceCreationTransactionId?: transactionId; recoveryCount: safeuint; serviceData: json; status: ServiceState_ServiceStatus };
  type ServiceState_ServiceStatus = "Opening" | "Open" | "WaitingForRecoveryShares" | "Recovering";
  type ServiceState_SgxFormat = "OE_SGX_v1";
  type ServiceState_SgxQuoteInfo = { endorsements: base64; format: ServiceState_SgxFormat; quote: base64 };
  type ServiceState_SnpFormat = "AMD_SEV_SNP_v1";
  type ServiceState_SnpJoinPolicy = { hostData: digest_to_string; measurements: string_array; tcbVersions: cpuid_to_ServiceState_TcbVersion; uvmEndorsements: did_to_ServiceState_UvmEndorsementFeeds };
  type ServiceState_SnpQuoteInfo = { endorsedTcb?: base64; format: ServiceState_SnpFormat; uvmEndorsements?: base64 };
  type ServiceState_TcbVersion = { boot_loader?: number; fmc?: number; hexstring?: string; microcode?: number; snp?: number; tee?: number };
  type ServiceState_User = { certificate: ServiceState_pem; userData: json; userId: userId };
  type ServiceState_User_array = Array<ServiceState_User>;
  type ServiceState_UvmEndorsementFeeds = Record<string, ServiceState_FeedInfo>;
  type ServiceState_VirtualDetails = { hostData: string; measurement: string; reportData: base64 };
  type ServiceState_VirtualFormat = "Insecure_Virtual";
  type ServiceState_VirtualJoinPolicy = { hostData: string_array; measurements: string_array };
  type ServiceState_VirtualQuoteInfo = { details: ServiceState_VirtualDetails; format: ServiceState_VirtualFormat; rawQuote: base64 };
  type ServiceState_caCertBundle = string;
  type ServiceState_pem = string;
  type Transactions_Transaction = { status: Transactions_TransactionStatus; transactionId: transactionId };
  type Transactions_TransactionStatus = "Unknown" | "Pending" | "Committed" | "Invalid";
  type base64 = string;
  type cpuid_to_ServiceState_TcbVersion = Record<string, ServiceState_TcbVersion>;
  type did_to_ServiceState_UvmEndorsementFeeds = Record<string, ServiceState_UvmEndorsementFeeds>;
  type digest_to_string = Record<string, string>;
  type issuer_to_ServiceState_JwtIssuer = Record<string, ServiceState_JwtIssuer>;
  type json = unknown;
  type kid_to_ServiceState_Jwks = Record<string, ServiceState_Jwks>;
  type memberId = string;
  type memberId_to_Proposals_FailureInfo = Record<string, Proposals_FailureInfo>;
  type memberId_to_boolean = Record<string, boolean>;
  type name_to_ServiceState_NetworkInterface = Record<string, ServiceState_NetworkInterface>;
  type name_to_ServiceState_caCertBundle = Record<string, ServiceState_caCertBundle>;
  type nodeId = string;
  type nullableString = (string) | null;
  type path_to_verb_to_ServiceState_JsEndpoint = Record<string, verb_to_ServiceState_JsEndpoint>;
  type proposalId = string;
  type safeuint = number;
  type stateDigest = string;
  type string_array = Array<string>;
  type transactionId = string;
  type userId = string;
  type verb_to_ServiceState_JsEndpoint = Record<string, ServiceState_JsEndpoint>;
}

export namespace AppApi {
  type CCFError = { error?: { code?: string; message?: string } };
  type GetCommit__Out = { transaction_id: TransactionId; view_history?: TransactionId_array };
  type GetTxStatus__Out = { status: TxStatus; transaction_id: TransactionId };
  type TransactionId = string;
  type TransactionId_array = Array<TransactionId>;
  type TxStatus = "Unknown" | "Pending" | "Committed" | "Invalid";
  type json = unknown;
  type uint64 = number;
}

export class Endpoints {
  /** This document */
  getNodeApi(): Promise<NodeApi.json>;
  getNodeAttestations(): Promise<NodeApi.GetAttestations__Out>;
  getNodeAttestationsSelf(): Promise<NodeApi.Attestation>;
  getNodeBackup(): Promise<null>;
  /** Last transaction that is committed for good */
  getNodeCommit(params?: { view_history?: boolean; view_history_since?: NodeApi.uint64 }): Promise<NodeApi.GetCommit__Out>;
  getNodeConfig(): Promise<NodeApi.string_to_ConsensusNodeConfig>;
  getNodeConsensus(): Promise<NodeApi.ConsensusConfigDetails>;
  getNodeIndexStrategies(): Promise<NodeApi.json>;
  getNodeJsMetrics(): Promise<NodeApi.JavaScriptMetrics>;
  getNodeJwtKeysRefreshMetrics(): Promise<NodeApi.JWTRefreshMetrics>;
  getNodeMemory(): Promise<NodeApi.MemoryUsage__Out>;
  getNodeMetrics(): Promise<NodeApi.NodeMetrics>;
  getNodeNetwork(): Promise<NodeApi.GetNetworkInfo__Out>;
  getNodeNetworkNodes(params?: { host?: string; port?: string; status?: string }): Promise<NodeApi.GetNodes__Out>;
  getNodeNetworkNodesPrimary(): Promise<NodeApi.GetNode__NodeInfo>;
  getNodeNetworkNodesSelf(): Promise<NodeApi.GetNode__NodeInfo>;
  getNodeNetworkNodesNodeId(params: { node_id: string }): Promise<NodeApi.GetNode__NodeInfo>;
  deleteNodeNetworkNodesNodeId(params: { node_id: string }): Promise<boolean>;
  getNodeNetworkRemovableNodes(): Promise<NodeApi.GetNodes__Out>;
  getNodePrimary(): Promise<null>;
  headNodePrimary(): Promise<null>;
  getNodeQuotes(): Promise<NodeApi.GetQuotes__Out>;
  getNodeQuotesSelf(): Promise<NodeApi.Quote>;
  getNodeReadyApp(): Promise<null>;
  getNodeReadyGov(): Promise<null>;
  /** Receipt of a committed transaction */
  getNodeReceipt(params: { transaction_id: NodeApi.TransactionId }): Promise<NodeApi.json>;
  getNodeSelfSignedCertificate(): Promise<NodeApi.SelfSignedNodeCertificateInfo>;
  getNodeServiceConfiguration(): Promise<NodeApi.ServiceConfiguration>;
  getNodeServicePreviousIdentity(): Promise<NodeApi.GetServicePreviousIdentity__Out>;
  getNodeState(): Promise<NodeApi.GetState__Out>;
  /** What is known of a transaction id */
  getNodeTx(params: { transaction_id: NodeApi.TransactionId }): Promise<NodeApi.GetTxStatus__Out>;
  getNodeVersion(): Promise<NodeApi.GetVersion__Out>;
  /** All proposals that are kept */
  proposalsList(): Promise<GovApi.PagedProposal>;
  /** One proposal */
  proposalsGet(params: { proposalId: string }): Promise<GovApi.Proposals_Proposal>;
  /** A proposal as its proposer signed it */
  proposalsGetActions(params: { proposalId: string }): Promise<GovApi.Proposals_ProposalActions>;
  /** A member's ballot on a proposal */
  ballotsGet(params: { proposalId: string; memberId: string }): Promise<string>;
  /** Vote on a proposal */
  ballotsSubmit(params: { proposalId: string; memberId: string }, payload: { ballot: string }): Promise<GovApi.Proposals_Proposal>;
  /** Withdraw an open proposal */
  proposalsWithdraw(params: { proposalId: string }): Promise<GovApi.Proposals_Proposal | null>;
  /** Make a proposal */
  proposalsCreate(payload: GovApi.Proposals_ProposalActions): Promise<GovApi.Proposals_Proposal>;
  /** State digest that a member is to acknowledge */
  stateDigestsGet(params: { memberId: string }): Promise<GovApi.Acks_StateDigest>;
  /** Acknowledge the state of the service */
  stateDigestsAcknowledge(params: { memberId: string }, payload: { stateDigest: GovApi.stateDigest }): Promise<null>;
  /** Have a member acknowledge the latest signed state */
  stateDigestsUpdate(params: { memberId: string }): Promise<GovApi.Acks_StateDigest>;
  /** A member's encrypted recovery share */
  encryptedSharesGet(params: { memberId: string }): Promise<GovApi.Recovery_EncryptedRecoveryShare>;
  /** Hand in a recovery share */
  sharesSubmit(params: { memberId: string }, payload: { share: GovApi.base64 }): Promise<GovApi.Recovery_RecoveryResponse>;
  /** The constitution in force */
  serviceStateGetConstitution(): Promise<string>;
  /** Status, identity and configuration of the service */
  serviceStateGetServiceInfo(): Promise<GovApi.ServiceState_ServiceInfo>;
  /** Endpoints of the JavaScript application */
  serviceStateGetJsApp(params?: { case?: "original" }): Promise<GovApi.ServiceState_JsApp>;
  /** Modules of the JavaScript application */
  serviceStateListJsModules(): Promise<GovApi.PagedJsModuleNames>;
  /** Source of a module of the JavaScript application */
  serviceStateGetJsModule(params: { moduleName: string }): Promise<string>;
  /** Which programs may join the service */
  serviceStateGetJoinPolicies(): Promise<GovApi.ServiceState_JoinPolicies>;
  /** Token issuers, their keys and trusted authorities */
  serviceStateGetJwkInfo(): Promise<GovApi.ServiceState_JwkInfo>;
  /** All members */
  serviceStateListMembers(): Promise<GovApi.PagedMember>;
  /** One member */
  serviceStateGetMember(params: { memberId: string }): Promise<GovApi.ServiceState_Member>;
  /** All nodes */
  serviceStateListNodes(): Promise<GovApi.PagedNode>;
  /** One node */
  serviceStateGetNode(params: { nodeId: string }): Promise<GovApi.ServiceState_Node>;
  /** The last committed transaction */
  transactionsGetCommit(): Promise<GovApi.Transactions_Transaction>;
  /** What is known of a transaction */
  transactionsGet(params: { transactionId: string }): Promise<GovApi.Transactions_Transaction>;
  /** All users */
  serviceStateListUsers(): Promise<GovApi.PagedUser>;
  /** One user */
  serviceStateGetUser(params: { userId: string }): Promise<GovApi.ServiceState_User>;
  /** This document */
  getAppApi(): Promise<AppApi.json>;
  /** Last transaction that is committed for good */
  getAppCommit(params?: { view_history?: boolean; view_history_since?: AppApi.uint64 }): Promise<AppApi.GetCommit__Out>;
  /** Receipt of a committed transaction */
  getAppReceipt(params: { transaction_id: AppApi.TransactionId }): Promise<AppApi.json>;
  /** What is known of a transaction id */
  getAppTx(params: { transaction_id: AppApi.TransactionId }): Promise<AppApi.GetTxStatus__Out>;
}
