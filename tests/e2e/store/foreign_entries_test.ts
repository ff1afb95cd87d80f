import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { FOREIGN, HARMFUL } from "./foreign_entries.ts";
import { CONFIG, eventually, isFullMesh, PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

const SUBNETS = `${PREFIX}/subnets`;

/** Lines with this text. */
function lines({ process }: LabUnit, text: string): string[] {
  return process.output.split("\n").filter((line) => line.includes(text));
}

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld lives with foreign and malformed entries, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 3 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);
    const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
    const start = async (host: UnderlayHost) => {
      await writeSysconfig(host, etcd);
      return stack.use(await LabUnit.start(host));
    };
    const units = [await start(first), await start(second)];
    const before = await kernelOf(first);

    // Twice: a repeated write is a change to the store, though not to the reader.
    for (let round = 0; round < 2; round++) {
      for (const [key, value] of [...FOREIGN, ...HARMFUL]) {
        await etcd.set(api, `${SUBNETS}/${key}`, value);
      }
      await etcd.set(api, `${SUBNETS}/nested/10.20.209.0-24`, '{"PublicIP":"172.28.128.9"}');
      await etcd.set(api, `${PREFIX}/elsewhere/config`, CONFIG);
    }
    // A later peer comes by the watch of the first two, and reads all of it in its snapshot.
    units.push(await start(third));
    await eventually("a full mesh", () => isFullMesh(lab.hosts));

    for (const unit of units) {
      for (const [key, , complaint] of FOREIGN) {
        const found = lines(unit, `Ignoring ${SUBNETS}/${key}: it `);
        assertEquals(found.length, 1, `${key}: ${found}`);
        assert(found[0]!.startsWith("W"));
        assert(found[0]!.includes(complaint), found[0]);
      }
      for (const [key, , complaint] of HARMFUL) {
        const found = lines(unit, `Ignoring subnet ${key.replace("-", "/")}: ${complaint}`);
        assertEquals(found.length, 1, `${key}: ${unit.process.output}`);
      }
      assertEquals(lines(unit, `Ignoring ${SUBNETS}/nested: it `).length, 1, unit.process.output);
      // A directory may be another network.
      assertEquals(lines(unit, `${PREFIX}/elsewhere`), []);
      assertEquals(lines(unit, "Watch subnets:"), []);
    }
    // The third host has come, by a route, a neighbour and an FDB entry; nothing else has.
    const base = (await subnetOf(third)).replace("/24", "");
    const added = (await kernelOf(first)).filter((line) => !before.includes(line));
    assertEquals(added.length, 3, added.join("\n"));
    for (const line of added) {
      assert(line.startsWith(base) || line.includes(`dst ${third.address} `), line);
    }

    // Put right, a malformed lease is a peer; made malformed again, it is none.
    const route = async () => (await first.exec(["ip", "route", "show", "10.20.203.0/24"])).trim();
    await etcd.set(
      api,
      `${SUBNETS}/10.20.203.0-24`,
      '{"PublicIP":"172.28.128.9","BackendType":"vxlan","BackendData":{"VtepMAC":"0a:00:00:00:00:09"}}',
    );
    await eventually("the corrected lease's route", async () => (await route()) !== "");
    await etcd.set(api, `${SUBNETS}/10.20.203.0-24`, "not JSON again");
    await eventually("no route", async () => (await route()) === "");
    assertEquals(lines(units[0]!, `Ignoring ${SUBNETS}/10.20.203.0-24: it `).length, 2);
    assert(await isFullMesh(lab.hosts));
  });

  Deno.test(`flanneld takes another subnet when its own lease was overwritten with nonsense, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);
    const units: LabUnit[] = [];
    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd);
      units.push(stack.use(await LabUnit.start(host)));
    }
    const [, victim] = lab.hosts as [UnderlayHost, UnderlayHost];
    const lost = await subnetOf(victim);
    await etcd.set(api, `${SUBNETS}/${lost.replace("/", "-")}`, "nonsense");
    await eventually("another subnet", async () => (await subnetOf(victim)) !== lost);
    await eventually("a full mesh again", () => isFullMesh(lab.hosts));
    const { output } = units[1]!.process;
    assertMatch(output, /lease \S+ was revoked or changed by another writer/);
    assertMatch(output, /Subnet changed from \S+ to \S+: restart Docker/);
    assert(units.every((unit) => unit.process.running));
  });
}

/** A text that a terminal obeys: C0, C1, and characters that reorder a line. */
const HOSTILE = "\x1b[2J\x1b]0;title\x07\x7f\x9b2J\u202e";

/** Each subcommand that shows something of the store. */
const SHOWING = [
  ["config", "get"],
  ["config", "validate"],
  ["lease", "list"],
  ["lease", "list", "-json"],
  ["lease", "reserve", "10.20.221.0/24", "172.28.128.9"],
  ["plan"],
  ["doctor"],
  ["doctor", "-json"],
  ["doctor", "-v=1"],
  ["explain", "10.20.222.2"],
  ["explain", "-json", "10.20.222.2"],
  ["status"],
  ["status", "-json"],
  ["cleanup", "-dry-run"],
  ["config", "set", '{"Network": "10.20.0.0/16"}', "-yes"],
];

Deno.test("flanneld sends no terminal what the store holds for it", async (t) => {
  const backend = (type: string) =>
    JSON.stringify({
      Network: "10.20.0.0/16",
      [HOSTILE]: 1,
      Backend: { Type: type, [HOSTILE]: 2 },
    });
  const configs = {
    "that cannot be used": backend(`vxlan${HOSTILE}`),
    "that can be used": backend("vxlan"),
    // C1 characters need no escape in JSON.
    "with raw characters": backend("vxlan").replaceAll("\\u007f", "\x7f"),
  };
  for (const [what, config] of Object.entries(configs)) {
    await t.step(`with a config ${what}`, async () => {
      await using lab = await Lab.start({ hosts: 1 });
      await using stack = new AsyncDisposableStack();
      const host = lab.hosts[0]!;
      const etcd = stack.use(await LabEtcd.start(host));
      await etcd.set("v2", `${PREFIX}/config`, config);
      const lease = { PublicIP: "172.28.128.9", BackendType: HOSTILE, BackendData: HOSTILE };
      await etcd.set("v2", `${SUBNETS}/10.20.221.0-24`, JSON.stringify(lease));
      const vxlan = { ...lease, BackendType: "vxlan", BackendData: { VtepMAC: HOSTILE } };
      await etcd.set("v2", `${SUBNETS}/10.20.222.0-24`, JSON.stringify(vxlan));
      const record = { machineId: HOSTILE, hostname: HOSTILE, bootId: HOSTILE, instance: HOSTILE };
      await etcd.set(
        "v2",
        `${PREFIX}/agents/172.28.128.9`,
        JSON.stringify({ ...record, version: HOSTILE, started: HOSTILE }),
      );
      await writeSysconfig(host, etcd);
      const unit = stack.use(await LabUnit.start(host, { wait: what.startsWith("that can be") }));
      if (what === "that cannot be used") await unit.process.waitFor(/cannot be used/);
      for (const args of SHOWING) {
        const { stdout, stderr } = await host.run([FLANNELD, ...args]);
        const name = args.join(" ");
        const obeyed = /(?!\n)[\p{Cc}\p{Bidi_Control}]/u.exec(stdout + stderr);
        assertEquals(obeyed?.[0], undefined, `${name}: ${JSON.stringify(stdout + stderr)}`);
        if (args.includes("-json") && stdout !== "") JSON.parse(stdout);
        if (name === "config get") assertEquals(JSON.parse(stdout), JSON.parse(config));
      }
      const logged = unit.process.output;
      assertEquals(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u.test(logged), false, JSON.stringify(logged));
      assert(/\\(x|u00)1b\[2j/i.test(logged), logged);
    });
  }
});

/** Returns the kernel objects of the overlay, line by line. */
async function kernelOf(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec([
    "sh",
    "-c",
    "ip -4 route; ip -4 neigh show nud permanent; bridge fdb show | grep dst",
  ]);
  return text.split("\n").map((line) => line.trim());
}
