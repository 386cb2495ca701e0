// Which actions of a programmable application the holders of a role may take.

define(
  "set_role_definition",
  (args) => {
    checkType(args.role, "string", "role");
    checkType(args.actions, "array", "actions");
    args.actions.forEach((name, at) => checkType(name, "string", `actions[${at}]`));
  },
  (args) => {
    const permitted = ccf.kv[`public:programmability.roles.${args.role}`];
    permitted.clear();
    for (const name of new Set(args.actions)) {
      permitted.set(ccf.jsonCompatibleToBuf(name), getSingletonKvKey());
    }
  },
);
