import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CredentialChain, findRegion } from "../../backends/aws_vpc/credentials.ts";
import { AwsEnvironment } from "../../backends/aws_vpc/environment.ts";
import { InstanceMetadata } from "../../backends/aws_vpc/metadata.ts";
import { ProviderError } from "../../backends/provider/errors.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { Imds } from "./imds.ts";
import { Moto } from "./moto.ts";

const signal = new AbortController().signal;
const HOUR = 3600_000;

const instance = () => new Imds({ instanceId: "i-1", region: "eu-north-1", role: "flannel" });

function chain(env: Record<string, string>, now?: () => number) {
  const environment = new AwsEnvironment({ HOME: "/nonexistent", ...env });
  const metadata = new InstanceMetadata(environment, { timeoutMs: 300 });
  return new CredentialChain(environment, metadata, now);
}

async function refusal(call: () => Promise<unknown>): Promise<string> {
  const { message } = await assertRejects(call, ProviderError);
  return message;
}

Deno.test("CredentialChain takes the environment before files before the instance", async () => {
  await using imds = instance();
  const dir = await Deno.makeTempDir();
  try {
    const file = `${dir}/credentials`;
    await Deno.writeTextFile(
      file,
      "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s1\n" +
        "[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s2\naws_session_token = t2\n",
    );
    const base = { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint };
    const files = { ...base, AWS_SHARED_CREDENTIALS_FILE: file };
    const env = { ...files, AWS_ACCESS_KEY_ID: "AKIAENV", AWS_SECRET_ACCESS_KEY: "s0" };
    const get = async (variables: Record<string, string>) => {
      const { origin, credentials } = await chain(variables).get(signal);
      return [credentials.accessKeyId, credentials.sessionToken, origin];
    };
    assertEquals(await get(env), ["AKIAENV", undefined, "AWS_ACCESS_KEY_ID AKIAENV"]);
    assertEquals((await get(files)).slice(0, 2), ["AKIAFILE", undefined]);
    assertEquals((await get({ ...files, AWS_PROFILE: "other" })).slice(0, 2), ["AKIAOTHER", "t2"]);
    assertEquals(imds.reads, []);
    assertEquals(await get(base), [
      ...["ASIAINSTANCE", imds.credentials.Token, "role flannel of the instance"],
    ]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("CredentialChain names what is wrong with a source, and does not pass it over", async () => {
  await using imds = instance();
  const dir = await Deno.makeTempDir();
  try {
    const base = { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint };
    const config = async (text: string) => {
      await Deno.writeTextFile(`${dir}/config`, text);
      return { ...base, AWS_CONFIG_FILE: `${dir}/config` };
    };
    const cases: readonly (readonly [Record<string, string>, RegExp])[] = [
      [{ AWS_ACCESS_KEY_ID: "AKIA" }, /only AWS_ACCESS_KEY_ID is set/],
      [{ AWS_SECRET_ACCESS_KEY: "s" }, /only AWS_SECRET_ACCESS_KEY is set/],
      [{ AWS_ROLE_ARN: "arn:aws:iam::1:role/r" }, /only AWS_ROLE_ARN is set/],
      [{ ...base, AWS_PROFILE: "none" }, /there are no credentials in profile none of/],
      [{ AWS_SHARED_CREDENTIALS_FILE: dir }, /shared files cannot be read/],
      [
        { AWS_ROLE_ARN: "r", AWS_WEB_IDENTITY_TOKEN_FILE: `${dir}/no`, AWS_REGION: "eu-west-1" },
        /web identity token cannot be read/,
      ],
      [await config("[default]\ncredential_process = /bin/x\n"), /has credential_process, which/],
    ];
    for (const [env, words] of cases) {
      assertMatch(await refusal(() => chain(env).get(signal)), words);
    }
    assertEquals(imds.reads, []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("CredentialChain reports missing credentials of the instance in one line", async () => {
  await using imds = instance();
  const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint };
  for (const text of ["null", "1", '"ASIA"', "[]", "{}"]) {
    imds.credentialsText = text;
    assertEquals(
      await refusal(() => chain(env).get(signal)),
      "the credentials of role flannel are not complete",
    );
  }
  imds.credentialsText = "<html>";
  assertEquals(
    await refusal(() => chain(env).get(signal)),
    "the credentials of role flannel are not JSON",
  );
});

Deno.test("CredentialChain has a role assumed by a web identity token", async () => {
  await using moto = await Moto.start();
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "a.web.token\n");
    const roleArn = "arn:aws:iam::123456789012:role/flannel";
    const { credentials, origin } = await chain({
      ...{ AWS_ROLE_ARN: roleArn, AWS_WEB_IDENTITY_TOKEN_FILE: file, AWS_REGION: "eu-west-1" },
      AWS_ENDPOINT_URL_STS: moto.endpoint,
      AWS_ENDPOINT_URL: "http://127.0.0.1:9",
    }).get(signal);
    assertMatch(credentials.accessKeyId, /^ASIA/);
    assert(credentials.sessionToken !== undefined);
    assert(credentials.expires! > Date.now() + HOUR / 2, String(credentials.expires));
    assertEquals(origin, `${roleArn} by ${file}`);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("CredentialChain renews credentials five minutes early, and tolerates a failure until they expire", async () => {
  using log = captureLog();
  await using imds = instance();
  let now = Date.now();
  const end = Date.parse(imds.credentials.Expiration);
  const credentials = chain({ AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint }, () => now);
  const key = async () => (await credentials.get(signal)).credentials.accessKeyId;
  const first = await key();
  const reads = imds.reads.length;
  now = end - 301_000;
  assertEquals(await key(), first);
  assertEquals(imds.reads.length, reads);

  now = end - 299_000;
  imds.behaviour = "failing";
  assertEquals(await key(), first);
  assertEquals(await key(), first);
  assertEquals(log.lines.length, 1);
  assertMatch(log.lines[0]!, /run out in 299 s and cannot be renewed: .*HTTP 503/);
  now = end + 1;
  await assertRejects(key, ProviderError);

  imds.behaviour = "v2";
  imds.revokeTokens();
  imds.credentials = {
    ...{ AccessKeyId: "ASIASECOND", SecretAccessKey: "s", Token: "t" },
    Expiration: new Date(end + 6 * HOUR).toISOString(),
  };
  assertEquals(await key(), "ASIASECOND");
});

Deno.test("InstanceMetadata speaks version 2, and 1 only when asked to", async () => {
  await using imds = instance();
  const base = { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint };
  const open = (env: Record<string, string> = {}) =>
    new InstanceMetadata(new AwsEnvironment({ ...base, ...env }), { timeoutMs: 300 });
  const v1 = { AWS_EC2_METADATA_V1_DISABLED: "false" };
  assertEquals(await open().get("instance-id", signal), "i-1");
  assertEquals(await open().get("nothing", signal), undefined);

  imds.behaviour = "v1";
  assertMatch(
    await refusal(() => open().get("instance-id", signal)),
    /IMDSv1 at best, which is refused; AWS_EC2_METADATA_V1_DISABLED=false allows it/,
  );
  assertEquals(await open(v1).get("instance-id", signal), "i-1");

  imds.behaviour = "lost";
  assertMatch(
    await refusal(() => open().get("instance-id", signal)),
    /hop limit must be 2 or more: .*--http-put-response-hop-limit 2/,
  );
  imds.behaviour = "off";
  assertMatch(await refusal(() => open().get("instance-id", signal)), /HTTP 403.*HttpEndpoint/);
  imds.behaviour = "v2";
  assertMatch(
    await refusal(() => open({ AWS_EC2_METADATA_DISABLED: "TRUE" }).get("x", signal)),
    /AWS_EC2_METADATA_DISABLED is true/,
  );
});

Deno.test("InstanceMetadata asks for one session token for many reads, and for another when it is refused", async () => {
  await using imds = instance();
  const env = new AwsEnvironment({ AWS_EC2_METADATA_SERVICE_ENDPOINT: `${imds.endpoint}/` });
  const metadata = new InstanceMetadata(env);
  const tokens = () => imds.reads.filter((read) => read.startsWith("PUT")).length;
  await metadata.get("instance-id", signal);
  await metadata.get("placement/region", signal);
  assertEquals(tokens(), 1);
  imds.revokeTokens();
  assertEquals(await metadata.get("instance-id", signal), "i-1");
  assertEquals(tokens(), 2);
});

Deno.test("findRegion() takes the environment's before the instance's, and no host name", async () => {
  await using imds = instance();
  const find = (variables: Record<string, string>) => {
    const env = new AwsEnvironment({
      ...{ AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint, HOME: "/nonexistent", ...variables },
    });
    return findRegion(env, new InstanceMetadata(env), signal);
  };
  assertEquals(await find({}), "eu-north-1");
  assertEquals(await find({ AWS_DEFAULT_REGION: "us-east-1" }), "us-east-1");
  assertEquals(
    await find({ AWS_DEFAULT_REGION: "us-east-1", AWS_REGION: "us-west-2" }),
    "us-west-2",
  );
  assertMatch(
    await refusal(() => find({ AWS_REGION: "evil.example.org/" })),
    /AWS_REGION must be a region such as eu-west-1, not "evil/,
  );
});

Deno.test("AwsEnvironment.endpoint() prefers a service's own, then the common one, then AWS's", () => {
  const at = (env: Record<string, string>, region = "eu-west-1") =>
    new AwsEnvironment(env).endpoint("ec2", region)?.href;
  assertEquals(at({}), "https://ec2.eu-west-1.amazonaws.com/");
  assertEquals(at({}, "cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn/");
  assertEquals(at({ AWS_ENDPOINT_URL: "http://a:1" }), "http://a:1/");
  assertEquals(
    at({ AWS_ENDPOINT_URL: "http://a:1", AWS_ENDPOINT_URL_EC2: "http://b" }),
    "http://b/",
  );
  assertEquals(at({ AWS_ENDPOINT_URL: "not a url" }), undefined);
});
