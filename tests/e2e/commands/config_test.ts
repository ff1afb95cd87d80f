import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { eventually, PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

const KEY = `${PREFIX}/config`;
const UDP = '{"Network": "10.20.0.0/16"}';
const VXLAN = '{"Network": "10.30.0.0/16", "SubnetLenn": 25, "Backend": {"Type": "vxlan"}}';

/** `flanneld config ...` without a terminal. */
function config(host: UnderlayHost, ...args: string[]) {
  return host.run([FLANNELD, "config", ...args]);
}

/** The same at a terminal of its own, with what is typed there; both outputs are `stdout`. */
function atTerminal(host: UnderlayHost, typed: string, before: string, ...args: string[]) {
  const command = [FLANNELD, "config", ...args]
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  // script(1) takes the end of its input for the end of the terminal, so that stays open.
  const typist = `sleep 1; ${before}; printf '${typed}\\n'; sleep 2`;
  return host.run(["sh", "-c", `(${typist}) | script -qec "$0" /dev/null`, command]);
}

Deno.test("flanneld config sets, shows and deletes the config that running agents use", async (t) => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [first, second] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(first));
  for (const host of lab.hosts) await writeSysconfig(host, etcd);

  await t.step("set asks for the API where etcd has two stores and nothing in either", async () => {
    const { code, stderr } = await config(first, "set", UDP, "-yes");
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^flanneld: etcd has two stores, and neither .*-etcd-api=v2 .*-etcd-api=v3/,
    );
    assertEquals([await etcd.get("v2", KEY), await etcd.get("v3", KEY)], [undefined, undefined]);
  });

  await t.step("set writes to the given API, and no other", async () => {
    const { code, stdout, stderr } = await config(first, "set", UDP, "-etcd-api=v2", "-yes");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^\+ Network: "10\.20\.0\.0\/16"$/m);
    assertEquals(await etcd.get("v2", KEY), UDP);
    assertEquals(await etcd.get("v3", KEY), undefined);
    const again = await config(second, "set", UDP, "-yes");
    assertMatch(again.stdout, /The config is there already/);
  });

  const units: LabUnit[] = [];
  for (const host of lab.hosts) units.push(stack.use(await LabUnit.start(host)));

  await t.step("set refuses to write unasked where there is no terminal", async () => {
    const { code, stderr } = await config(first, "set", VXLAN);
    assertEquals(code, 3);
    assertMatch(stderr, /did you mean SubnetLen\?/);
    assertMatch(stderr, /not a terminal.*-yes/);
    assertEquals(await etcd.get("v2", KEY), UDP);
  });

  await t.step("set writes nothing that no agent could use", async () => {
    for (
      const [text, why] of [
        ['{"Network": "10.20.0.0/16", "SubnetLen": 31}', /SubnetLen must be less than \/31/],
        ['{"Backend": {"Type": "vxlan", "VNI": -1}, "Network": "10.20.0.0/16"}', /Backend\.VNI/],
        ['{"Network": "10.20.0.0/16"', /is not JSON/],
      ] as const
    ) {
      const { code, stderr } = await config(first, "set", text, "-yes");
      assertEquals(code, 1);
      assertMatch(stderr, why);
    }
    assertEquals(await etcd.get("v2", KEY), UDP);
  });

  await t.step(
    "set takes a no for a no, and does not write over what it has not shown",
    async () => {
      const no = await atTerminal(first, "n", "true", "set", VXLAN);
      assertEquals(no.code, 3, no.stdout);
      assertMatch(no.stdout, /Write it to etcd v2 .*\? \[y\/N\]/);
      const meanwhile = `etcdctl --endpoints=${etcd.endpoint} set ${KEY} '${UDP} ' >/dev/null`;
      const late = await atTerminal(
        ...[first, "y", `ETCDCTL_API=2 ${meanwhile}`, "set", VXLAN] as const,
      );
      assertEquals(late.code, 1, late.stdout);
      assertMatch(late.stdout, /was written by somebody else/);
      assertEquals(await etcd.get("v2", KEY), `${UDP} `);
    },
  );

  await t.step("set shows the changes for the hosts, and they switch", async () => {
    const yes = await atTerminal(second, "y", "true", "set", VXLAN);
    assertEquals(yes.code, 0, yes.stdout);
    for (
      const line of [
        /^- Network: "10\.20\.0\.0\/16"\r$/m,
        /^\+ Backend\.Type: "vxlan"\r$/m,
        /^2 of 2 leases do not fit/m,
        /^ {2}10\.20\.\d+\.0\/24 host100 \(172\.28\.128\.100\)\r$/m,
        /^The backend changes from udp to vxlan/m,
        /^MTU for containers: 1450 in place of 1472/m,
      ]
    ) assertMatch(yes.stdout, line);
    assertEquals(await etcd.get("v2", KEY), VXLAN);
    for (const host of lab.hosts) {
      await eventually(
        `${host.name} has a subnet of the new network`,
        async () => (await subnetOf(host)).startsWith("10.30."),
      );
    }
    const lines = units[0]!.process.output.match(/SubnetLenn is not a key of the network config/g);
    assertEquals(lines?.length, 1);
  });

  await t.step("get and validate read the store, validate also what is given", async () => {
    const got = await config(first, "get");
    assertEquals([got.code, got.stdout], [0, `${VXLAN}\n`]);
    assertMatch(got.stderr, /etcd v2/);
    const stored = await config(first, "validate");
    assertEquals(stored.code, 0);
    assertMatch(stored.stdout, /^Network 10\.30\.0\.0\/16: 255 subnets of \/24/);
    const json = async (...args: string[]) => JSON.parse((await config(first, ...args)).stdout);
    const { version, store, config: value } = await json("get", "-json");
    assertEquals([version, value], [1, JSON.parse(VXLAN)]);
    assertMatch(store, /^etcd v2 /);
    const checked = await json("validate", "-json");
    assertEquals(
      [checked.version, checked.network, checked.subnets, checked.backend, checked.mtu],
      [1, "10.30.0.0/16", 255, "vxlan", 1450],
    );
    const offline = await second.run(
      [FLANNELD, "config", "validate", "-", "-etcd-endpoints=http://192.0.2.1:2379"],
      { stdin: '{"Network": "10.20.0.0/33"}' },
    );
    assertEquals(offline.code, 1);
    assertMatch(offline.stderr, /standard input cannot be used: Network must be an IPv4 network/);
  });

  await t.step(
    "delete names the hosts and leaves their leases, and get then reports a missing config",
    async () => {
      const { code, stdout } = await config(first, "delete", "-yes");
      assertEquals(code, 0);
      assertMatch(stdout, /^ {2}10\.30\.\d+\.0\/24 host101 \(172\.28\.128\.101\)$/m);
      assertEquals(await etcd.get("v2", KEY), undefined);
      assertEquals((await etcd.keys("v2", `${PREFIX}/subnets`)).length, 2);
      const gone = await config(first, "get");
      assertEquals([gone.code, gone.stdout], [1, ""]);
      // The hosts identify the etcd store.
      const back = await config(first, "set", VXLAN, "-yes");
      assertEquals(back.code, 0);
      assertMatch(back.stdout, /Using etcd v2, where the hosts of this network are/);
      assert(units.every(({ process }) => process.running));
    },
  );
});

Deno.test("flanneld shows no secret of a config, and writes no stand-in for one", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  const withSecret = (secret: string, port: number) =>
    JSON.stringify({
      Network: "10.20.0.0/16",
      Backend: {
        ...{ Type: "vxlan", Port: port, AccessKeyID: `id-${secret}`, AccessKeySecret: secret },
        Proxy: `http://joe:${secret}@proxy:3128/`,
      },
    });
  const stored = withSecret("t0p-s3cret", 8472);
  await etcd.set("v2", KEY, stored);
  await writeSysconfig(host, etcd);
  const unit = stack.use(await LabUnit.start(host));
  const outputs: string[] = [];
  const shown = async (...args: string[]) => {
    const { code, stdout, stderr } = await host.run([FLANNELD, ...args]);
    outputs.push(stdout + stderr);
    return { code, stdout, stderr };
  };

  const { stdout } = await shown("config", "get");
  assertEquals(JSON.parse(stdout).Backend, {
    ...{ Type: "vxlan", Port: 8472, AccessKeyID: "(not shown)", AccessKeySecret: "(not shown)" },
    Proxy: "http://joe:(not shown)@proxy:3128/",
  });
  const refused = await shown("config", "set", "-yes", stdout);
  assertEquals(refused.code, 1);
  assertMatch(
    refused.stderr,
    /^flanneld: the config of the command line has "\(not shown\)", .*-show-secrets/,
  );
  assertEquals(await etcd.get("v2", KEY), stored);
  assertMatch((await shown("status", "-json")).stdout, /\(not shown\)/);
  for (const args of [["status"], ["plan"], ["doctor", "-v=1"], ["config", "validate"]]) {
    await shown(...args);
  }
  const changed = withSecret("an0ther-s3cret", 8473);
  assertEquals((await shown("config", "set", "-yes", changed)).code, 0);
  await unit.process.waitFor(/Network config changed: .*\(not shown\).*8473/);
  for (const text of [...outputs, unit.process.output]) {
    assertEquals(/t0p-s3cret|an0ther-s3cret/.exec(text)?.[0], undefined, text);
  }
  const all = await host.run([FLANNELD, "config", "get", "-show-secrets"]);
  assertEquals(all.stdout, `${changed}\n`);
});
