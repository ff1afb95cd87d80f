import { assertEquals } from "@std/assert";
import { type ClusterState, findBroken, type HostState } from "./invariants.ts";
import { hostRoutes, type KernelDump, type RouteJson } from "./kernel_state.ts";

const DEFAULT: RouteJson = { dst: "default", gateway: "10.0.2.2", dev: "eth0" };

function kernel(...routes: RouteJson[]): KernelDump {
  return { routes: [DEFAULT, ...routes], neighbours: [], fdb: [] };
}

function host(i: number, changes: Partial<HostState> = {}): HostState {
  return {
    ...{ name: `host10${i}`, publicIP: `172.28.128.10${i}`, subnet: `10.20.${i}.0/24` },
    ...{ isAffected: false, kernel: kernel(), routesBefore: hostRoutes(kernel()) },
    ...{ residentMiB: 90, logBytes: 2_000, logMinutes: 1 },
    ...changes,
  };
}

function state(hosts: readonly HostState[], changes: Partial<ClusterState> = {}): ClusterState {
  const leases = [0, 1].map((i) => ({ subnet: `10.20.${i}.0/24`, publicIP: `172.28.128.10${i}` }));
  return { leases, hosts, strays: [], ...changes };
}

const peer = (gateway: string): RouteJson => ({
  ...{ dst: "10.20.1.0/24", gateway, dev: "eth1", protocol: "102" },
});

function found(state: ClusterState): string[] {
  return findBroken(state).map(({ invariant, detail }) => `${invariant}: ${detail}`);
}

Deno.test("findBroken() finds nothing in a cluster that is well", () => {
  const first = host(0, { kernel: kernel(peer("172.28.128.101")) });
  assertEquals(found(state([first, host(1)])), []);
  assertEquals(found(state([first, host(1)], { leases: undefined })), []);
});

Deno.test("findBroken() finds two holders of a subnet, and a holder without its lease", () => {
  const both = [host(0), host(1, { subnet: "10.20.0.0/24" })];
  assertEquals(found(state(both, { leases: undefined })), [
    "no subnet with two live holders: host100 and host101: 10.20.0.0/24",
  ]);
  assertEquals(found(state([host(0), host(1, { subnet: "10.20.7.0/24" })])), [
    "no subnet with two live holders: host101 (172.28.128.101) uses 10.20.7.0/24, whose lease is not there",
  ]);
  // A host that is cut off cannot know.
  assertEquals(found(state([host(0), host(1, { subnet: "10.20.0.0/24", isAffected: true })])), []);
});

Deno.test("findBroken() finds objects that lead to no peer, unless a stray host is about", () => {
  const hosts = [host(0, { kernel: kernel(peer("172.28.128.8")) }), host(1)];
  assertEquals(found(state(hosts)), [
    "no foreign object programmed: host100 has an object that leads to 172.28.128.8",
  ]);
  assertEquals(found(state(hosts, { strays: ["172.28.128.8"] })), []);
  const own = [host(0, { kernel: kernel(peer("172.28.128.100")) }), host(1)];
  assertEquals(found(state(own)).length, 1);
});

Deno.test("findBroken() finds a host's route that is gone, and one that came", () => {
  const gone = { ...kernel(), routes: [] };
  assertEquals(found(state([host(0, { kernel: gone }), host(1)])).length, 1);
  const more = kernel({ dst: "172.28.128.0/24", dev: "flannel0", protocol: "102" });
  assertEquals(found(state([host(0, { kernel: more }), host(1)])).length, 2);
});

Deno.test("findBroken() finds an agent that takes too much memory, or logs too much", () => {
  const [memory] = found(state([host(0, { residentMiB: 500 }), host(1)]));
  assertEquals(memory, "resident memory bounded: host100: more than 300 MiB");
  const [log] = found(state([host(0, { logBytes: 300_000 }), host(1)]));
  assertEquals(log, "log bounded: host100: more than 100000 bytes a minute");
});
