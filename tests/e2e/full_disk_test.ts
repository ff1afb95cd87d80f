import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { FLANNELD } from "../lab/unit.ts";

/** Milliseconds until the agent tries again what the host has refused. */
const RETRY = 2_000;

const STORE = "-store=embedded";
const FILL = "/run/flannel/fill";

/** Puts a file system of a few pages in place of /run/flannel. */
async function shrinkRun(host: UnderlayHost): Promise<void> {
  await host.exec(["mkdir", "/run/flannel"]);
  await host.exec(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/run/flannel"]);
}

/** Takes what is left of it. */
async function fill(host: UnderlayHost): Promise<void> {
  const { code } = await host.run(["dd", "if=/dev/zero", `of=${FILL}`, "bs=1k"]);
  assert(code !== 0, "the file system took all of it");
}

/** Begins an agent on a host, and changes its config when there is no room for that. */
async function switchWithoutSpace(host: UnderlayHost): Promise<LabProcess> {
  await host.exec([FLANNELD, "config", "set", "-yes", STORE, configOf(81)]);
  await shrinkRun(host);
  const agent = await host.spawn([FLANNELD, STORE, "-iface=eth1"]);
  await agent.waitFor(/Wrote subnet file/);
  await fill(host);
  await host.exec([FLANNELD, "config", "set", "-yes", STORE, configOf(85)]);
  await agent.waitFor(/cannot write \/run\/flannel\/subnet\.env: No space left on device/);
  return agent;
}

async function free(host: UnderlayHost): Promise<void> {
  await host.exec(["rm", FILL]);
}

function configOf(second: number): string {
  return `{"Network":"10.${second}.0.0/16","Backend":{"Type":"vxlan"}}`;
}

/** When lines of a log were written, in milliseconds of the day. */
function times(output: string, line: RegExp): number[] {
  return output.split("\n").filter((one) => line.test(one)).map((one) => {
    const [, hours, minutes, seconds] = /^.\d{4} (\d\d):(\d\d):([\d.]+) /.exec(one)!;
    return ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000;
  });
}

Deno.test("flanneld on a full disk ends with a line that names the file, and starts once there is room", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await host.exec([FLANNELD, "config", "set", "-yes", STORE, configOf(81)]);
  await shrinkRun(host);
  await fill(host);
  const { code, stderr } = await host.run([FLANNELD, STORE, "-iface=eth1"]);
  assertEquals(code, 1);
  assertMatch(
    stderr.trimEnd().split("\n").at(-1)!,
    /\] cannot write \/run\/flannel\/subnet\.env: No space left on device \(os error 28\)$/,
  );

  // Nor does a full disk keep a host from being cleaned.
  assertMatch(await host.exec([FLANNELD, "cleanup", STORE]), /^removed device flannel\.1$/m);

  await free(host);
  await using agent = await host.spawn([FLANNELD, STORE, "-iface=eth1"]);
  await agent.waitFor(/Wrote subnet file/);
});

Deno.test("flanneld with several networks serves them once the disk has room", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await host.exec([FLANNELD, "config", "set", "-yes", STORE, "-networks=blue", configOf(81)]);
  await shrinkRun(host);
  await fill(host);
  await using agent = await host.spawn([FLANNELD, STORE, "-iface=eth1", "-networks=blue"]);
  // A second attempt meets nothing that the first has left.
  for (const wait of ["1 s", "2 s"]) {
    await agent.waitFor(
      new RegExp(
        `blue: cannot serve the network \\(trying again in ${wait}\\): cannot write ` +
          "/run/flannel/networks/blue.env: No space left on device",
      ),
    );
  }
  await free(host);
  await agent.waitFor(/blue: Wrote subnet file/);
});

Deno.test("flanneld switches to a config that does not fit on the disk, with growing pauses between attempts", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await using agent = await switchWithoutSpace(host);
  const leased = /Lease acquired: 10\.85\./;
  await agent.waitFor(/(?:Lease acquired: 10\.85\.[^]*){3}/);
  const at = times(agent.output, leased);
  // An attempt's own write to the store does not cause the next one. Midnight may be between.
  for (const [i, later] of at.slice(1, 3).entries()) {
    const distance = (later - at[i]! + 86_400_000) % 86_400_000;
    assert(distance >= RETRY, `${distance} ms between two attempts\n${agent.output}`);
  }

  await free(host);
  await agent.waitFor(/recovered: no warning is left/);
  assertMatch(await host.readTextFile("/run/flannel/subnet.env"), /^FLANNEL_SUBNET=10\.85\./m);
});

Deno.test("flanneld goes back to a config from one that the disk had no room for", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await using agent = await switchWithoutSpace(host);
  await host.exec([FLANNELD, "config", "set", "-yes", STORE, configOf(81)]);
  await free(host);
  await agent.waitFor(/recovered: no warning is left/);

  const env = await host.readTextFile("/run/flannel/subnet.env");
  const subnet = /^FLANNEL_SUBNET=(10\.81\.\d+)\.1\/24$/m.exec(env)![1]!;
  const { leases } = JSON.parse(await host.exec([FLANNELD, "lease", "list", "-json", STORE]));
  assertEquals(leases.map((lease: { subnet: string }) => lease.subnet), [`${subnet}.0/24`]);
  assertMatch(
    await host.exec(["ip", "-o", "-4", "address", "show", "dev", "flannel.1"]),
    new RegExp(`inet ${subnet}\\.0/32 `),
  );
  assertEquals(
    (await host.run([FLANNELD, "plan", "-detailed-exitcode", STORE, "-iface=eth1"])).code,
    0,
  );
});
