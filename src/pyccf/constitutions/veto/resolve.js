// One vote against is enough to reject; otherwise more than half of the active members must vote.

export function resolve(proposal, proposerId, votes) {
  if (votes.some((ballot) => !ballot.vote)) {
    return "Rejected";
  }
  let activeMembers = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    if (ccf.bufToJsonCompatible(value).status === "Active") {
      activeMembers += 1;
    }
  });
  return votes.length > Math.floor(activeMembers / 2) ? "Accepted" : "Open";
}
