import { assertEquals, assertMatch } from "@std/assert";
import { CredentialChain } from "../../backends/aws_vpc/credentials.ts";
import { Ec2 } from "../../backends/aws_vpc/ec2.ts";
import { AwsEnvironment } from "../../backends/aws_vpc/environment.ts";
import { InstanceMetadata } from "../../backends/aws_vpc/metadata.ts";
import { ProviderError } from "../../backends/provider/errors.ts";
import { parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import { AwsLab } from "./aws_lab.ts";
import { type Moto, REGION } from "./moto.ts";

const signal = new AbortController().signal;
const SUBNET = Prefix.parse("10.20.1.0/24")!;

/** The policy that docs/backends/aws.md gives. */
async function documentedPolicy(): Promise<{ Statement: { Action: string | string[] }[] }> {
  const text = await Deno.readTextFile(new URL("../../docs/backends/aws.md", import.meta.url));
  return JSON.parse(/```json\n([^]*?)```/.exec(text)![1]!);
}

/** Makes a user with a policy and gives its key. moto compares actions, and knows resources as `*` alone. */
async function makeUser(moto: Moto, name: string, actions: readonly string[]) {
  const policy = {
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: actions, Resource: "*" }],
  };
  await moto.call("iam", "create_user", { UserName: name });
  await moto.call("iam", "put_user_policy", {
    ...{ UserName: name, PolicyName: "p", PolicyDocument: JSON.stringify(policy) },
  });
  const { AccessKey } = await moto.call("iam", "create_access_key", { UserName: name });
  return {
    AWS_ACCESS_KEY_ID: AccessKey.AccessKeyId,
    AWS_SECRET_ACCESS_KEY: AccessKey.SecretAccessKey,
  };
}

function open(moto: Moto, key: Record<string, string>): Ec2 {
  const env = new AwsEnvironment({ ...key, AWS_EC2_METADATA_DISABLED: "true" });
  return new Ec2({
    url: new URL(moto.endpoint),
    region: REGION,
    credentials: new CredentialChain(env, new InstanceMetadata(env)),
  });
}

Deno.test("Ec2 signs what an EC2 that checks takes, and needs no action but those of docs/backends/aws.md", async () => {
  await using lab = await AwsLab.start();
  const { moto, table } = lab;
  const host = await lab.addMachine("host100", "172.28.128.100");
  const { Statement } = await documentedPolicy();
  const actions = Statement.flatMap(({ Action }) => Action);
  const key = await makeUser(moto, "all", actions);
  const lacking = new Map<string, Record<string, string>>();
  for (const action of actions) {
    const others = actions.filter((other) => other !== action);
    lacking.set(action, await makeUser(moto, `no-${action.slice(4)}`, others));
  }
  await moto.enforce();

  // Each action of the policy: with it, and with all but it.
  const calls: readonly (readonly [string, (ec2: Ec2) => Promise<unknown>])[] = [
    ["ec2:DescribeNetworkInterfaces", async (ec2) => {
      const [found] = await ec2.findInterfaces(parseIPv4(host.address)!, undefined, signal);
      assertEquals([found!.id, found!.sourceDestCheck], [host.target, true]);
    }],
    [
      "ec2:ModifyNetworkInterfaceAttribute",
      (ec2) => ec2.disableSourceDestCheck(host.target, signal),
    ],
    ["ec2:CreateRoute", (ec2) => ec2.createRoute(table, SUBNET, host.target, signal)],
    ["ec2:ReplaceRoute", (ec2) => ec2.replaceRoute(table, SUBNET, host.target, signal)],
    ["ec2:DescribeRouteTables", async (ec2) => {
      const [found] = await ec2.describeRouteTables({ ids: [table] }, signal);
      const route = found!.routes.find(({ destination }) => destination.equals(SUBNET));
      assertEquals([route?.target, route?.isOwn], [host.target, true]);
    }],
    ["ec2:DeleteRoute", (ec2) => ec2.deleteRoute(table, SUBNET, signal)],
  ];
  assertEquals(calls.map(([action]) => action).sort(), [...actions].sort());
  for (const [action, call] of calls) {
    const error = await call(open(moto, lacking.get(action)!)).then(() => undefined, (e) => e);
    assertEquals(error instanceof ProviderError && error.kind, "denied", `${action}: ${error}`);
    assertMatch(
      error.message,
      new RegExp(`${action} on .* is not allowed to AWS_ACCESS_KEY_ID AKIA`),
    );
    await call(open(moto, key));
  }

  const forged = { ...key, AWS_SECRET_ACCESS_KEY: "wrong" };
  const error = await calls[0]![1](open(moto, forged)).then(() => undefined, (e) => e);
  assertEquals(error.kind, "denied");
});

Deno.test("Ec2 distinguishes a missing route and table from other failures", async () => {
  await using lab = await AwsLab.start();
  const host = await lab.addMachine("host100", "172.28.128.100");
  const ec2 = open(lab.moto, { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" });
  const kindOf = (call: Promise<unknown>) => call.then(() => "done", (error) => error.kind);
  assertEquals(await kindOf(ec2.replaceRoute(lab.table, SUBNET, host.target, signal)), "missing");
  assertEquals(await kindOf(ec2.deleteRoute(lab.table, SUBNET, signal)), "missing");
  const gone = { ids: ["rtb-00000000"] };
  const error = await ec2.describeRouteTables(gone, signal).then(() => undefined, (e) => e);
  assertEquals(error.failure.code, "InvalidRouteTableID.NotFound");
});
