// Majority voting, with shortcuts for proposals of a single test action and for members who
// provision operators.

function dataOf(memberId) {
  const stored = ccf.kv["public:ccf.gov.members.info"].get(ccf.strToBuf(memberId));
  return stored === undefined ? undefined : ccf.bufToJsonCompatible(stored).member_data;
}

// Who has an encryption key is no operator.
function isOperator(memberId) {
  const keys = ccf.kv["public:ccf.gov.members.encryption_public_keys"];
  return !keys.has(ccf.strToBuf(memberId)) && Boolean(dataOf(memberId)?.is_operator);
}

function setsOrRemovesOperator({ name, args }) {
  if (name === "set_member") {
    return Boolean(args.member_data?.is_operator);
  }
  return name === "remove_member" && isOperator(args.member_id);
}

function unanimous(votes, count, outcome) {
  return votes.length === count && votes.every((ballot) => ballot.vote === outcome);
}

const when = (condition, state) => (condition ? state : undefined);

// What decides none of these is a matter of all.
const SHORTCUTS = {
  always_accept_noop: () => "Accepted",
  always_reject_noop: () => "Rejected",
  always_throw_in_apply: () => "Accepted",
  set_service_recent_cose_proposals_window_size: () => "Accepted",
  always_throw_in_resolve: () => {
    throw new Error("Resolve message");
  },
  always_accept_with_one_vote: ({ votes }) => when(unanimous(votes, 1, true), "Accepted"),
  always_reject_with_one_vote: ({ votes }) => when(unanimous(votes, 1, false), "Rejected"),
  always_accept_with_two_votes: ({ votes }) => when(unanimous(votes, 2, true), "Accepted"),
  always_reject_with_two_votes: ({ votes }) => when(unanimous(votes, 2, false), "Rejected"),
  always_accept_if_voted_by_operator: ({ votes }) => when(votes.length > 0, "Accepted"),
  always_accept_if_proposed_by_operator: ({ proposerId }) =>
    when(dataOf(proposerId)?.is_operator, "Accepted"),
  check_proposal_id_is_set_correctly: ({ proposal, proposalId }) => {
    const stored = ccf.kv["public:ccf.gov.proposals"].get(ccf.strToBuf(proposalId));
    return stored !== undefined && ccf.bufToStr(stored) === proposal ? "Accepted" : "Rejected";
  },
};

export function resolve(proposal, proposerId, votes, proposalId) {
  const proposed = JSON.parse(proposal).actions;
  if (proposed.length === 1 && Object.hasOwn(SHORTCUTS, proposed[0].name)) {
    const decided = SHORTCUTS[proposed[0].name]({ proposal, proposerId, votes, proposalId });
    if (decided !== undefined) {
      return decided;
    }
  }
  if (dataOf(proposerId)?.is_operator_provisioner) {
    return proposed.every(setsOrRemovesOperator) ? "Accepted" : "Rejected";
  }
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value, key) => {
    const { status, member_data } = ccf.bufToJsonCompatible(value);
    const memberId = ccf.bufToStr(key);
    if (status === "Active" && !member_data?.is_operator_provisioner && !isOperator(memberId)) {
      voters += 1;
    }
  });
  const votesFor = votes.filter((ballot) => ballot.vote).length;
  return votesFor > Math.floor(voters / 2) ? "Accepted" : "Open";
}
