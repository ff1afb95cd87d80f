import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkConfig, type CheckedConfig } from "../../../../backends/check_config.ts";
import { type IPv4, parseIPv4, Prefix } from "../../../ip/mod.ts";
import { type Lease, PERMANENT, type StoredNodeRecord } from "../../../lease/mod.ts";
import {
  configDiff,
  describeConsequences,
  describeDeletion,
  listHosts,
  roomOf,
} from "./changes.ts";

const ip = (last: number): IPv4 => parseIPv4(`172.28.128.${last}`)!;

function lease(subnet: string, host: number, ttl = 600): Lease {
  return { subnet: Prefix.parse(subnet)!, attributes: { publicIP: ip(host) }, ttl, revision: "1" };
}

function agent(host: number): StoredNodeRecord {
  const record = {
    ...{ machineId: "m", hostname: `host${host}`, bootId: "b", instance: "i" },
    ...{ version: "0.1.0", started: "2026-01-02T03:04:05Z" },
  };
  return { publicIP: ip(host), record, revision: "1" };
}

const udp = (network: string) => checkConfig(`{"Network": "${network}"}`);

Deno.test("configDiff() compares keys by Go's rules and hides secrets", () => {
  assertEquals(configDiff(undefined, '{"Network": "10.20.0.0/16"}'), ['+ Network: "10.20.0.0/16"']);
  assertEquals(
    configDiff(
      '{"network": "10.20.0.0/16", "SubnetLen": 24, "Backend": {"Type": "udp"}}',
      '{"Network": "10.20.0.0/16", "Backend": {"type": "vxlan", "VNI": 7}}',
    ),
    ["- SubnetLen: 24", '- Backend.Type: "udp"', '+ Backend.type: "vxlan"', "+ Backend.VNI: 7"],
  );
  assertEquals(configDiff('{"Backend": {"PSK": "a"}}', '{"Backend": {"PSK": "b"}}'), [
    "- Backend.PSK: (not shown)",
    "+ Backend.PSK: (not shown)",
  ]);
  assertEquals(configDiff('{"A": 1}', '{ "A":1 }'), [
    "  the same keys and values, written otherwise",
  ]);
  assertEquals(configDiff("hello S3cret", '{"A": 1}'), ["- a text that is not JSON", "+ A: 1"]);
});

Deno.test("describeConsequences() names the hosts whose subnets no longer fit", async () => {
  const [before, after] = [await udp("10.20.0.0/16"), await udp("10.30.0.0/16")];
  const leases = [lease("10.20.93.0/24", 101), lease("10.30.7.0/24", 102)];
  assertEquals(describeConsequences(before, after, { leases, agents: [agent(101), agent(102)] }), [
    "1 of 2 leases do not fit. Each host takes another subnet at once; then restart Docker there:",
    "  10.20.93.0/24 host101 (172.28.128.101)",
  ]);
  assertEquals(describeConsequences(before, after, { leases: [], agents: [] }), [
    "No host holds a lease, so no host changes.",
  ]);
});

Deno.test("describeConsequences() names backend, MTU, and programs to restart", async () => {
  const after = await checkConfig('{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}');
  const found = { leases: [lease("10.20.93.0/24", 101)], agents: [] };
  assertEquals(describeConsequences(await udp("10.20.0.0/16"), after, found), [
    "The only lease fits; its host keeps the subnet.",
    "The backend changes from udp to vxlan.",
    "Agents of flanneld switch by themselves; packets between a host that has switched and one that " +
    "has not wait.",
    "1 host without a node record: upstream flannel, which reads a new config when it is restarted:",
    "  10.20.93.0/24 172.28.128.101",
    "MTU for containers: 1450 in place of 1472 where the interface has 1500; " +
    "restart Docker on every host.",
  ]);
});

Deno.test("describeConsequences() counts hosts without a free subnet", async () => {
  const after: CheckedConfig = await udp("10.20.0.0/27");
  const leases = [1, 2, 3, 4].map((i) => lease(`10.20.${i}.0/24`, i));
  assertEquals(roomOf(after), 3);
  const lines = describeConsequences(undefined, after, { leases, agents: [] });
  assertStringIncludes(lines.at(-1)!, "has room for 3 hosts and 4 hold leases");
});

Deno.test("listHosts() lists ten hosts by subnet, and reservations as such", () => {
  const leases = Array.from({ length: 12 }, (_, i) => lease(`10.20.${20 - i}.0/24`, i));
  const lines = listHosts([...leases, lease("10.20.1.0/24", 99, PERMANENT)], []);
  assertEquals(lines.length, 11);
  assertEquals(lines[0], "  10.20.1.0/24 172.28.128.99, a reservation");
  assertEquals(lines[10], "  and 3 more");
});

Deno.test("describeDeletion() reports that hosts drop one of several networks, if they watch them", () => {
  assertEquals(
    describeDeletion(2, false),
    "Hosts with a lease (2) keep it, and their packets flow; none can start without a config, and " +
      "none switches to another:",
  );
  assertEquals(
    describeDeletion(2, true),
    "Hosts with a lease (2): those with -watch-networks remove the network's device, routes and " +
      "firewall rules at once, and its packets stop; the others keep them, and their packets " +
      "flow; none can start without a config:",
  );
});
