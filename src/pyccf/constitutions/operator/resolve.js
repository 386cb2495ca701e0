// Operators run the machines and have no say in the rest: they carry out operator actions alone,
// while the other active members decide by majority.
//
// An operator is a member without an encryption key whose data says `is_operator`.

const OPERATOR_ACTIONS = ["trust_node", "retire_node", "new_node_code"];

function memberInfo(memberId) {
  const stored = ccf.kv["public:ccf.gov.members.info"].get(ccf.strToBuf(memberId));
  return stored === undefined ? undefined : ccf.bufToJsonCompatible(stored);
}

function isOperator(memberId) {
  const key = ccf.strToBuf(memberId);
  if (ccf.kv["public:ccf.gov.members.encryption_public_keys"].has(key)) {
    return false;
  }
  return Boolean(memberInfo(memberId)?.member_data?.is_operator);
}

function isOperatorAction({ name, args }) {
  if (name === "set_member") {
    return Boolean(args.member_data?.is_operator) && missing(args.encryption_pub_key);
  }
  if (name === "remove_member") {
    return isOperator(args.member_id);
  }
  return OPERATOR_ACTIONS.includes(name);
}

export function resolve(proposal, proposerId, votes) {
  if (isOperator(proposerId) && JSON.parse(proposal).actions.every(isOperatorAction)) {
    return "Accepted";
  }
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value, key) => {
    const active = ccf.bufToJsonCompatible(value).status === "Active";
    if (active && !isOperator(ccf.bufToStr(key))) {
      voters += 1;
    }
  });
  const votesFor = votes.filter((ballot) => ballot.vote && !isOperator(ballot.member_id)).length;
  return votesFor > Math.floor(voters / 2) ? "Accepted" : "Open";
}
