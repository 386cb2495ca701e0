// One kind of member appoints and dismisses operators on its own and may propose nothing else;
// the members who are neither that nor operators decide the rest by majority.
//
// The two kinds are marked in their data: `is_operator_provisioner` and `is_operator`. Who has an
// encryption key, and with it a share in the recovery of the service, is neither.

function isMarked(memberId, mark) {
  const key = ccf.strToBuf(memberId);
  if (ccf.kv["public:ccf.gov.members.encryption_public_keys"].has(key)) {
    return false;
  }
  const stored = ccf.kv["public:ccf.gov.members.info"].get(key);
  return stored !== undefined && Boolean(ccf.bufToJsonCompatible(stored).member_data?.[mark]);
}

function appointsOperator({ name, args }) {
  if (name === "set_member") {
    return Boolean(args.member_data?.is_operator) && missing(args.encryption_pub_key);
  }
  return name === "remove_member" && isMarked(args.member_id, "is_operator");
}

function decides(memberId) {
  return !isMarked(memberId, "is_operator") && !isMarked(memberId, "is_operator_provisioner");
}

export function resolve(proposal, proposerId, votes) {
  if (isMarked(proposerId, "is_operator_provisioner")) {
    return JSON.parse(proposal).actions.every(appointsOperator) ? "Accepted" : "Rejected";
  }
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value, key) => {
    if (ccf.bufToJsonCompatible(value).status === "Active" && decides(ccf.bufToStr(key))) {
      voters += 1;
    }
  });
  const votesFor = votes.filter((ballot) => ballot.vote && decides(ballot.member_id)).length;
  return votesFor > Math.floor(voters / 2) ? "Accepted" : "Open";
}
