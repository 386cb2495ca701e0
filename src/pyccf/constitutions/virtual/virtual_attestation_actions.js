// Which programs may join on the virtual platform, which proves nothing and is for trying out.

defineMeasurementActions(
  "measurement",
  GOV + "nodes.virtual.measurements",
  "add_virtual_measurement",
  "remove_virtual_measurement",
);

define(
  "add_virtual_host_data",
  (args) => checkType(args.host_data, "string", "host_data"),
  (args, proposalId) => {
    const member = getSingletonKvKey();
    ccf.kv[GOV + "nodes.virtual.host_data"].set(ccf.strToBuf(args.host_data), member);
    invalidateOtherOpenProposals(proposalId);
  },
);

define(
  "remove_virtual_host_data",
  (args) => checkType(args.host_data, "string", "host_data"),
  (args) => ccf.kv[GOV + "nodes.virtual.host_data"].delete(ccf.strToBuf(args.host_data)),
);
