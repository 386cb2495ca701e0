// One kind of member appoints and dismisses operators on its own and may propose nothing else;
// the members who are neither that nor operators decide the rest by majority.
//
// The two kinds are marked in their data: `is_operator_provisioner` and `is_operator`.

function dataOfMember(memberId) {
  const stored = ccf.kv["public:ccf.gov.members.info"].get(ccf.strToBuf(memberId));
  return stored === undefined ? undefined : ccf.bufToJsonCompatible(stored).member_data;
}

function appointsOperator({ name, args }) {
  if (name === "set_member") {
    return Boolean(args.member_data?.is_operator);
  }
  return name === "remove_member" && Boolean(dataOfMember(args.member_id)?.is_operator);
}

function decides(memberData) {
  return !memberData?.is_operator && !memberData?.is_operator_provisioner;
}

export function resolve(proposal, proposerId, votes) {
  if (dataOfMember(proposerId)?.is_operator_provisioner) {
    return JSON.parse(proposal).actions.every(appointsOperator) ? "Accepted" : "Rejected";
  }
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    const info = ccf.bufToJsonCompatible(value);
    if (info.status === "Active" && decides(info.member_data)) {
      voters += 1;
    }
  });
  const votesFor = votes.filter(
    (ballot) => ballot.vote && decides(dataOfMember(ballot.member_id)),
  ).length;
  return votesFor > Math.floor(voters / 2) ? "Accepted" : "Open";
}
