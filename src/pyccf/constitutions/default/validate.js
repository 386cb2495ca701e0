// Whether a proposal is fit to be voted on: every action exists and accepts its arguments.

export function validate(input) {
  const proposal = JSON.parse(input);
  const errors = [];
  let position = 0;
  for (const proposed of proposal.actions) {
    const name = proposed.name;
    const action = actions.get(name);
    if (action === undefined) {
      errors.push(`${name}: no such action`);
    } else {
      try {
        action.validate(proposed.args);
      } catch (e) {
        errors.push(`${name} at position ${position} failed validation: ${e}\n${e.stack}`);
      }
    }
    position += 1;
  }
  return { valid: errors.length === 0, description: errors.join(", ") };
}
