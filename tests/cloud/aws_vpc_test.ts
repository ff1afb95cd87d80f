import { assertEquals, assertMatch } from "@std/assert";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { AwsLab } from "./aws_lab.ts";
import { type BotoAnswer, Moto, REGION } from "./moto.ts";
import {
  type CloudCase,
  type CloudSubject,
  cloudTest,
  own,
  providerCases,
} from "./provider_cases.ts";

/** Of all tests here; ends with this process, at the end of its input. */
const moto = await Moto.start();

const AWS: CloudSubject = {
  type: "aws-vpc",
  start: () => AwsLab.start({ moto }),
  denied: /ec2:CreateRoute on route table rtb-\w+ is not allowed to role flannel of the instance/,
  calls: {
    first: ["ModifyNetworkInterfaceAttribute", "CreateRoute"],
    replace: ["ReplaceRoute"],
    remove: ["DeleteRoute"],
  },
};

providerCases(AWS);

const lab = (context: CloudCase) => context.lab as AwsLab;

cloudTest(
  AWS,
  "sync() names the action that may not switch the source check off, and goes on",
  async (context) => {
    const { host, log, prepare } = context;
    lab(context).proxy.deny("ModifyNetworkInterfaceAttribute");
    await (await prepare(host)).sync(own(), new LeaseSet());
    assertEquals(await context.lab.routes(), ["10.20.1.0/24 host100"]);
    const [line, ...others] = log.filter((line) => line.startsWith("W"));
    assertEquals(others, []);
    assertMatch(
      line!,
      /source\/destination check of eni-\w+ on, .*: ec2:ModifyNetworkInterfaceAttribute on network interface eni-\w+ is not allowed to role flannel/,
    );
  },
);

cloudTest(AWS, "sync() takes the subnet's own table before the VPC's main one", async (context) => {
  const { host, prepare } = context;
  const { moto, vpcId, subnetId, table } = lab(context);
  const { RouteTable } = await moto.call("ec2", "create_route_table", { VpcId: vpcId });
  await moto.call("ec2", "associate_route_table", {
    ...{ RouteTableId: RouteTable.RouteTableId, SubnetId: subnetId },
  });
  const network = await prepare(host);
  await network.sync(own(), new LeaseSet());
  assertEquals(await lab(context).routes(RouteTable.RouteTableId), ["10.20.1.0/24 host100"]);
  assertEquals(await lab(context).routes(), []);

  const both = await prepare(host, {
    options: { RouteTableID: [table, RouteTable.RouteTableId] },
  });
  await both.sync(own(), new LeaseSet());
  assertEquals(await lab(context).routes(), ["10.20.1.0/24 host100"]);
  assertEquals(
    [...both.status().routeTables!.keys()].sort(),
    [table, RouteTable.RouteTableId].sort(),
  );
});

cloudTest(
  AWS,
  "sync() names a route table that is not there, or is another VPC's",
  async (context) => {
    const { host, prepare } = context;
    const missing = await prepare(host, { options: { RouteTableID: "rtb-00000000" } });
    await missing.sync(own(), new LeaseSet());
    assertMatch(
      missing.status().failure!,
      /Backend\.RouteTableID: .*rtb-00000000.* does not exist/,
    );

    const { moto } = lab(context);
    const { RouteTables } = await moto.call("ec2", "describe_route_tables", {
      Filters: [{ Name: "association.main", Values: ["true"] }],
    });
    const foreign = RouteTables.find((one: BotoAnswer) => one.VpcId !== lab(context).vpcId);
    const other = await prepare(host, { options: { RouteTableID: foreign.RouteTableId } });
    await other.sync(own(), new LeaseSet());
    assertMatch(other.status().failure!, /is a table of vpc-\w+, and eni-\w+ is in vpc-/);
  },
);

cloudTest(
  AWS,
  "sync() reports that the host's address is not an address of its instance",
  async (context) => {
    const network = await context.prepare({ ...context.host, address: "172.28.128.77" });
    await network.sync(own(), new LeaseSet());
    assertMatch(
      network.status().failure!,
      /unable to find ENI that matches the 172\.28\.128\.77 IP address of instance i-\w+: .*-iface/,
    );
  },
);

cloudTest(
  AWS,
  "sync() does not need the metadata service when the environment is complete",
  async (context) => {
    const { host, prepare } = context;
    const env = {
      ...{ AWS_EC2_METADATA_DISABLED: "true", AWS_REGION: REGION },
      ...{ AWS_ACCESS_KEY_ID: "AKIAENV", AWS_SECRET_ACCESS_KEY: "s" },
    };
    assertEquals(await (await prepare(host, { env })).sync(own(), new LeaseSet()), 0);
    assertEquals(lab(context).metadata.get(host.name)!.reads, []);
    assertEquals(lab(context).proxy.calls.every(({ key }) => key === "AKIAENV"), true);
  },
);

cloudTest(
  AWS,
  "sync() gets new credentials when EC2 reports expired ones",
  async (context) => {
    const { host, prepare } = context;
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    const { proxy, metadata } = lab(context);
    const imds = metadata.get(host.name)!;
    imds.credentials = { ...imds.credentials, AccessKeyId: "ASIASECOND" };
    proxy.expire(1);
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(network.status().failure, undefined);
    assertEquals(proxy.calls.at(-1)!.key, "ASIASECOND");
  },
);

cloudTest(AWS, "sync() reports a full table, and warns before", async (context) => {
  const { host, other, log, prepare } = context;
  for (let i = 0; i < 449; i++) {
    await context.lab.addRoute(`10.20.${100 + (i >> 2)}.${(i & 3) << 6}/26`, other);
  }
  lab(context).proxy.fill();
  await (await prepare(host)).sync(own(), new LeaseSet());
  const text = log.join("\n");
  assertMatch(text, /W route table rtb-\w+ holds 450 routes, and AWS allows 500 unless/);
  assertMatch(text, /ec2:CreateRoute on route table rtb-\w+: RouteLimitExceeded/);
});
