// For trying things out: whatever is proposed happens at once.

export function resolve(proposal, proposerId, votes) {
  return "Accepted";
}
