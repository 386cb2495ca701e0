// Actions whose only purpose is the way the test resolution treats them.

const WINDOW_MAX_IN_TESTS = 100000;

for (const name of [
  "always_accept_noop",
  "always_reject_noop",
  "always_accept_with_one_vote",
  "always_reject_with_one_vote",
  "always_accept_if_voted_by_operator",
  "always_accept_if_proposed_by_operator",
  "always_accept_with_two_votes",
  "always_reject_with_two_votes",
  "always_throw_in_resolve",
  "check_proposal_id_is_set_correctly",
]) {
  define(
    name,
    () => true,
    () => {},
  );
}

define(
  "valid_pem",
  (args) => checkX509CertBundle(args.pem, "pem"),
  () => {},
);

define(
  "always_throw_in_apply",
  () => true,
  () => {
    throw new Error("Error message");
  },
);

define(
  "set_service_recent_cose_proposals_window_size",
  (args) => {
    checkType(args.proposal_count, "integer", "proposal_count");
    checkBounds(args.proposal_count, 1, WINDOW_MAX_IN_TESTS, "proposal_count");
  },
  (args) => {
    const config = readSingleton(TABLE.serviceConfig);
    if (config === undefined) {
      throw new Error("Service configuration could not be found");
    }
    config.recent_cose_proposals_window_size = args.proposal_count;
    writeSingleton(TABLE.serviceConfig, config);
  },
);
