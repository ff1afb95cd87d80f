/** A host of the user-space path in memory, for tests: the router between a fake device and a fake socket. */
import { parseIPv4, Prefix } from "../../../../mod/ip/mod.ts";
import { FakeDevice, FakeSocket } from "./fakes.ts";
import { COUNTERS, WorkerCounters } from "../counters.ts";
import { naiveChecksum } from "./packets.ts";
import { PacketMemory } from "../packet/memory.ts";
import { PeerLookup } from "../peer_lookup.ts";
import { PeerTable, type PeerTableOptions } from "../peer_table.ts";
import { Router } from "../router.ts";

const ip = (text: string) => parseIPv4(text)!;
/** The peers of {@linkcode host}, which lease 10.40.2.0/24 and 10.40.3.0/24. */
export const PEER = ip("172.28.128.101");
export const THIRD = ip("172.28.128.102");

/** A host with the lease 10.40.1.0/24 and two peers. */
export function host(options: Partial<PeerTableOptions> = {}) {
  const table = new PeerTable({
    network: Prefix.parse("10.40.0.0/16")!,
    subnetLen: 24,
    ...options,
  });
  table.setOwn(Prefix.parse("10.40.1.0/24")!);
  table.set(Prefix.parse("10.40.2.0/24")!, PEER);
  table.set(Prefix.parse("10.40.3.0/24")!, THIRD);
  const memory = new PacketMemory(2 << 20);
  const device = new FakeDevice(memory);
  const socket = new FakeSocket(memory);
  const counters = new WorkerCounters(WorkerCounters.allocate(table.capacity));
  let time = 0;
  const router = new Router({
    ...{ memory, device, socket, counters },
    peers: new PeerLookup(table.shared),
    now: () => time,
  });
  const counts = () =>
    Object.fromEntries(
      COUNTERS.map((name, i) => [name, counters.values[i]!] as const).filter(([, n]) => n > 0),
    );
  const drops = () =>
    Object.fromEntries(Object.entries(counts()).filter(([name]) => name.startsWith("drop")));
  const receive = (address: number, ...packets: Uint8Array[]) => {
    for (const packet of packets) socket.waiting.push({ address, packets: [packet] });
    while (router.receive() > 0);
    return device.written.splice(0).map(({ packet }) => packet);
  };
  const send = (...packets: Uint8Array[]) => {
    device.give(...packets);
    while (router.send() > 0);
    return socket.sent.splice(0);
  };
  const advance = (ms: number) => time += ms;
  return { table, memory, device, socket, counters, router, counts, drops, receive, send, advance };
}

/** Returns the packet with a decremented TTL and a correct checksum. */
export function aged(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[8]!--;
  copy.fill(0, 10, 12);
  const checksum = naiveChecksum(copy.subarray(0, (copy[0]! & 15) * 4));
  copy[10] = checksum >> 8;
  copy[11] = checksum & 255;
  return copy;
}
