// A proposal passes once more than half of the active members are for it; it is never rejected.

export function resolve(proposal, proposerId, votes) {
  let activeMembers = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    if (ccf.bufToJsonCompatible(value).status === "Active") {
      activeMembers += 1;
    }
  });
  const votesFor = votes.filter((ballot) => ballot.vote).length;
  return votesFor > Math.floor(activeMembers / 2) ? "Accepted" : "Open";
}
