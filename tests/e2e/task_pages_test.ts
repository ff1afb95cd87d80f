import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../lab/unit.ts";
import { eventually, subnetOf } from "./guide.ts";
import { blocks, readPage } from "./pages.ts";

const PASSWORD = "secret1";

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
    const [role, user] = await blocks("docs/etcd.md", "User and password", 2) as [string, string];
    await first.exec(["etcdctl", "user", "add", "root:root"]);
    await run(first, role.replace("user add flannel ", `user add flannel:${PASSWORD} `));
    await first.exec(["etcdctl", "user", "grant-role", "root", "root"]);
    await first.exec(["etcdctl", "auth", "enable"]);
    for (const [i, host] of lab.hosts.entries()) {
      await host.writeTextFile(
        "/etc/sysconfig/flanneld",
        'FLANNEL_ETCD_ENDPOINTS="http://172.28.128.100:2379"\n' +
          'FLANNEL_ETCD_PREFIX="/flannel/network"\nFLANNEL_OPTIONS="-iface=eth1 ' +
          `-firewall=${["iptables", "nftables"][i] ?? "auto"}"\n` +
          user.replace('"..."', `"${PASSWORD}"`),
        0o600,
      );
    }
  });

  await t.step("aws.md, gce.md, ipip.md: their configs are taken", async () => {
    const pages = {
      "aws-vpc": await blocks("docs/backends/aws.md", "AWS VPC", 1),
      gce: await blocks("docs/backends/gce.md", "Google Compute Engine", 1),
      ipip: await blocks("docs/backends/ipip.md", "ipip: IPv4 in IPv4", 1),
    };
    for (const [type, [set]] of Object.entries(pages)) {
      await run(first, set!.replace("config set ", "config set -yes "));
      const { Backend } = JSON.parse(await run(first, "flanneld config get"));
      assertEquals(Backend, { Type: type });
    }
  });

  await t.step("configure.md: the config is written", async () => {
    const [set] = await blocks("docs/configure.md", "Write the network's config", 1) as [string];
    await run(first, set.replace("config set ", "config set -yes "));
  });

  // Before a host leases the same subnet by chance.
  await t.step("configure.md: a subnet is reserved, and no longer", async () => {
    const [block] = await blocks("docs/configure.md", "Reserve a subnet for a host", 1) as [string];
    const [list, reserve, unreserve] = block.split("\n") as [string, string, string];
    await run(first, list);
    const isReserved = async () =>
      (await leases(first)).find(({ publicIP }) => publicIP === "172.28.128.105")?.reserved;
    await run(first, reserve);
    assertEquals(await isReserved(), true);
    await run(first, unreserve);
    assertEquals(await isReserved(), false);
    await run(first, "flanneld lease evict -yes 172.28.128.105");
  });

  await t.step("configure.md: three hosts start", async () => {
    for (const host of lab.hosts) stack.use(await LabUnit.start(host));
    assertEquals((await leases(first)).length, 3);
  });

  await t.step("configure.md: a host's present subnet is pinned", async () => {
    await run(second, `flanneld lease reserve ${await subnetOf(second)} ${second.address}`);
    const own = (await leases(first)).find(({ publicIP }) => publicIP === second.address);
    assertEquals(own?.reserved, true);
  });

  await t.step("rules.md: both commands read the counters", async () => {
    const [iptables, nft] = await blocks("docs/operate/rules.md", "Tunnel ports and sources", 2);
    assertMatch(await run(first, iptables!), /DROP .*flannel\.1/);
    assertMatch(await run(second, nft!), /flannel\.1.* drop/);
  });

  await t.step("backup.md: the config comes back as it was", async () => {
    const [save] = await blocks("docs/operate/backup.md", "The config and the reservations", 1) as [
      string,
    ];
    await run(first, save);
    const before = await run(first, "cat config.json");
    await run(first, "flanneld config delete -yes");
    const page = await readPage("docs/operate/backup.md");
    await run(first, /`(flanneld config set [^`]*config\.json)`/.exec(page)![1]!);
    assertEquals(await run(first, "flanneld config get -show-secrets"), before);
    assertMatch(await run(first, "cat leases.json"), /"reserved": true/);
  });

  await t.step("changes.md: every host gets a subnet of the new range", async () => {
    const [set] = await blocks("docs/changes.md", "Change the network's range", 2) as string[];
    await run(first, set!.replace("config set ", "config set -yes "));
    for (const host of lab.hosts) {
      await eventually("a subnet of the range", async () => {
        return (await subnetOf(host)).startsWith("10.30.");
      });
    }
  });

  await t.step(
    "changes.md: a dead host is evicted, and the others drop its route",
    async () => {
      const subnet = await subnetOf(third);
      await stack.disposeAsync();
      await using _first = await LabUnit.start(first);
      await using _second = await LabUnit.start(second);
      assertMatch(await first.exec(["ip", "route", "show", "proto", "102"]), new RegExp(subnet));
      const [evict] = await blocks("docs/changes.md", "Remove a dead host", 1) as [string];
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
  const [token, server, client] = await blocks("docs/without-etcd.md", "Without etcd", 3) as [
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
