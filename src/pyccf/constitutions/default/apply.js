// What an accepted proposal does: its actions in their order. One that throws undoes them all.

export function apply(proposal, proposalId) {
  for (const { name, args } of JSON.parse(proposal).actions) {
    actions.get(name).apply(args, proposalId);
  }
}
