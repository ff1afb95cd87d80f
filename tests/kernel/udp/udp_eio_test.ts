/**
 * The udp backend when the kernel fails UDP GSO with EIO. `udp_send_skb()` does so under an IPsec policy, on interfaces
 * without checksum offload before Linux 6.11, and on UDP-Lite sockets, which the test uses because every machine has
 * them. UDP-Lite's header has UDP's layout, so the packets are valid.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  type BackendHost,
  BackendLab,
  makeLease,
  prepare,
} from "../../../backends/testing/backend_lab.ts";
import { udpBackend } from "../../../backends/udp/udp.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { closeDescriptor, libc, unwrap } from "../../../mod/sys/mod.ts";
import { type Place, transfer } from "./udp_exchange.ts";
import { AF_INET, O_CLOEXEC, SOCK_DGRAM } from "../../../mod/sys/linux_constants.ts";

/** linux/in.h. */
const IPPROTO_UDPLITE = 136;
/** The backend's port 8285 in the notation of /proc/net/udp. */
const PORT = "205D";

const SUBNETS = ["10.20.1.0/24", "10.20.2.0/24"] as const;
const [here, there] = ["10.20.1.0", "10.20.2.0"];

/** A host for {@linkcode transfer}. */
function place({ namespace }: BackendHost): Place {
  return {
    run: (...command) => namespace.exec(...command),
    spawn: (...command) =>
      new Deno.Command("ip", {
        args: ["netns", "exec", namespace.name, ...command],
        ...{ stdin: "null", stdout: "piped", stderr: "piped" },
      }).spawn(),
  };
}

/** Replaces the backend's socket by a UDP-Lite socket with the same address. */
async function replaceSocket(host: BackendHost): Promise<void> {
  const table = await host.namespace.exec("cat", "/proc/net/udp");
  const line = table.split("\n").find((line) => line.includes(`:${PORT} `))!;
  const inode = line.trim().split(/\s+/)[9];
  let descriptor: number | undefined;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`) === `socket:[${inode}]`) {
        descriptor = Number(name);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // The directory's own.
    }
  }
  host.namespace.enter(() => {
    const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE));
    const name = new Uint8Array(new ArrayBuffer(16));
    const view = new DataView(name.buffer);
    view.setUint16(0, AF_INET, true);
    view.setUint16(2, parseInt(PORT, 16));
    view.setUint32(4, host.external.address);
    unwrap("bind", libc().bind(fd, name, name.length));
    unwrap("dup3", libc().dup3(fd, descriptor!, O_CLOEXEC));
    closeDescriptor(fd);
  });
}

Deno.test("udp stops using GSO when the kernel returns EIO, logs it once, and loses no packet", async () => {
  using log = captureLog();
  await using lab = await BackendLab.make();
  await using running = new AsyncDisposableStack();
  const leases = SUBNETS.map((subnet, i) => makeLease(subnet, lab.hosts[i]!.address));
  const networks = [];
  for (const [i, host] of lab.hosts.entries()) {
    const { network, own } = await prepare(
      udpBackend,
      await host.context({ Type: "udp" }),
      SUBNETS[i]!,
    );
    running.defer(() => network.close());
    await network.sync(own, new LeaseSet(leases));
    networks.push(network);
    assertStringIncludes(network.status().features!, "UDP GSO");
    await replaceSocket(host);
  }
  // The workers still poll their former sockets: a packet of their own host wakes them.
  for (const [i, host] of lab.hosts.entries()) await host.ping([there, here][i]!);
  const [left, right] = lab.hosts.map(place) as [Place, Place];
  await transfer(left, right, there, 16);
  await transfer(right, left, here, 16);

  for (const network of networks) {
    const { features } = network.status();
    assert(!features!.includes("UDP GSO"), features);
    assertStringIncludes(features!, "TCP segmentation", "no other offload was refused");
    assertEquals(network.status().traffic!()!.drops.sendRefused ?? 0, 0);
  }
  const lost = log.lines.filter((line) => line.includes("refused an offload"));
  assertEquals(lost.length, 2, log.lines.join("\n"));
  for (const line of lost) {
    assertMatch(line, /^W the kernel refused an offload of flannel\d; remaining: TCP segmentation/);
    assert(!line.includes("UDP GSO"), line);
  }
});
