import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../lab/unit.ts";
import { eventually, subnetOf } from "./guide.ts";

const DOCS = new URL("../../docs/", import.meta.url);
const PASSWORD = "secret1";

/** Returns the blocks of shell under a heading, without the indentation of a list. */
async function blocks(page: string, heading: string): Promise<string[]> {
  const text = await Deno.readTextFile(new URL(page, DOCS));
  const sections = text.split(/^#+ /m);
  const section = sections.find((part) => part.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`${page} has no heading "${heading}"`);
  return Array.from(
    section.matchAll(/^( *)```sh\n(.*?)^ *```$/gms),
    ([, indent, block]) => block!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  );
}

/** Runs a block on a host, as root with etcd's password, in a directory of its own. */
async function run(host: UnderlayHost, block: string): Promise<string> {
  return await host.exec([
    ...["env", `PATH=${dirname(FLANNELD)}:${Deno.env.get("PATH")}`, `ETCDCTL_USER=root:root`],
    ...["sh", "-ec", `cd ${host.dir}\n${block}`],
  ]);
}

async function leases(host: UnderlayHost): Promise<{ publicIP: string; reserved: boolean }[]> {
  return JSON.parse(await run(host, "flanneld lease list -json")).leases;
}

Deno.test("the pages about etcd, changes and backup: their commands do what they promise", async (t) => {
  await using lab = await Lab.start({ hosts: 3 });
  const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  await using _etcd = await LabEtcd.start(first);
  await using stack = new AsyncDisposableStack();

  await t.step("etcd.md: the user of the page may do all that flanneld needs", async () => {
    const [role, user] = await blocks("etcd.md", "User and password") as [string, string];
    await first.exec(["etcdctl", "user", "add", "root:root"]);
    await run(first, role.replace("user add flannel ", `user add flannel:${PASSWORD} `));
    await first.exec(["etcdctl", "user", "grant-role", "root", "root"]);
    await first.exec(["etcdctl", "auth", "enable"]);
    for (const host of lab.hosts) {
      await host.writeTextFile(
        "/etc/sysconfig/flanneld",
        'FLANNEL_ETCD_ENDPOINTS="http://172.28.128.100:2379"\n' +
          'FLANNEL_ETCD_PREFIX="/flannel/network"\nFLANNEL_OPTIONS="-iface=eth1"\n' +
          user.replace('"..."', `"${PASSWORD}"`),
        0o600,
      );
    }
  });

  await t.step("configure.md: the config is written, and three hosts start", async () => {
    const [set] = await blocks("configure.md", "Write the network's config") as [string];
    await run(first, set.replace("config set ", "config set -yes "));
    for (const host of lab.hosts) stack.use(await LabUnit.start(host));
    assertEquals((await leases(first)).length, 3);
  });

  await t.step("configure.md: a host's present subnet is pinned", async () => {
    await run(second, `flanneld lease reserve ${await subnetOf(second)} ${second.address}`);
    const own = (await leases(first)).find(({ publicIP }) => publicIP === second.address);
    assertEquals(own?.reserved, true);
  });

  await t.step("backup.md: the config comes back as it was", async () => {
    const [save] = await blocks("backup.md", "The config and the reservations") as [string];
    await run(first, save);
    const before = await run(first, "cat config.json");
    await run(first, "flanneld config delete -yes");
    const page = await Deno.readTextFile(new URL("backup.md", DOCS));
    await run(first, /`(flanneld config set [^`]*config\.json)`/.exec(page)![1]!);
    assertEquals(await run(first, "flanneld config get -show-secrets"), before);
    assertMatch(await run(first, "cat leases.json"), /"reserved": true/);
  });

  await t.step(
    "changes.md: a dead host is evicted, and the others drop its route",
    async () => {
      const subnet = await subnetOf(third);
      await stack.disposeAsync();
      await using _first = await LabUnit.start(first);
      await using _second = await LabUnit.start(second);
      assertMatch(await first.exec(["ip", "route", "show", "proto", "102"]), new RegExp(subnet));
      const [evict] = await blocks("changes.md", "Remove a dead host") as [string];
      const command = evict.replace("evict 172.28.128.101", `evict -yes ${third.address}`);
      const output = await run(first, command);
      assertMatch(output, new RegExp(`^- lease ${subnet}\n- node record of ${third.address}, `));
      assertEquals(
        await run(
          first,
          `etcdctl get --prefix --keys-only /flannel/network/agents/${third.address}`,
        ),
        "",
      );
      await eventually(
        "no route to the dead host",
        async () => !(await first.exec(["ip", "route", "show", "proto", "102"])).includes(subnet),
      );
      assertEquals((await leases(first)).length, 2);
    },
  );
});

Deno.test("without-etcd.md: its commands make one network of three hosts", async () => {
  await using lab = await Lab.start({ hosts: 3 });
  const [first, ...others] = lab.hosts as [UnderlayHost, ...UnderlayHost[]];
  const [token, server, client] = await blocks("without-etcd.md", "Without etcd") as [
    string,
    string,
    string,
  ];
  await run(first, token);
  const secret = await first.readTextFile("/etc/flannel/remote-token");
  await first.writeTextFile("/etc/sysconfig/flanneld", server);
  await using stack = new AsyncDisposableStack();
  stack.use(await LabUnit.start(first));
  for (const host of others) {
    await host.writeTextFile("/etc/flannel/remote-token", secret, 0o600);
    await host.writeTextFile("/etc/sysconfig/flanneld", client);
    stack.use(await LabUnit.start(host));
  }
  assertEquals(
    (await leases(others[0]!)).map(({ publicIP }) => publicIP).toSorted(),
    lab.hosts.map(({ address }) => address),
  );
});
