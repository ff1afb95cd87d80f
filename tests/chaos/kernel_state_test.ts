import { assertEquals } from "@std/assert";
import { BACKENDS, type GuideBackend } from "../e2e/guide.ts";
import {
  hostRoutes,
  isContainerAddress,
  type LeaseFacts,
  parseDump,
  programmedObjects,
  remoteAddresses,
  wantedObjects,
} from "./kernel_state.ts";

const OWN = "172.28.128.100";
const NETWORK = "10.20.0.0/16";

const LEASES: readonly LeaseFacts[] = [
  { subnet: "10.20.33.0/24", publicIP: "172.28.128.102", vtepMac: "2e:06:ad:ae:7a:c8" },
  { subnet: "10.20.90.0/24", publicIP: OWN, vtepMac: "f6:bc:ba:30:d3:3e" },
];

const HOST_ROUTES = '{"dst":"default","gateway":"10.0.2.2","dev":"eth0","metric":100,"flags":[]},' +
  '{"dst":"172.28.128.0/24","dev":"eth1","protocol":"kernel","scope":"link","flags":[]}';

/** iproute2's output for hosts of each backend. */
const RECORDED: Readonly<Record<GuideBackend["type"], string>> = {
  "vxlan":
    `[${HOST_ROUTES},{"dst":"10.20.33.0/24","gateway":"10.20.33.0","dev":"flannel.1","protocol":"102","flags":["onlink"]},
     {"type":"local","dst":"10.20.90.0","dev":"flannel.1","table":"local","protocol":"kernel","flags":[]}]
    [{"dst":"10.20.33.0","dev":"flannel.1","lladdr":"2e:06:ad:ae:7a:c8","state":["PERMANENT"]}]
    [{"mac":"33:33:00:00:00:01","ifname":"eth1","flags":["self"],"state":"permanent"},
     {"mac":"2e:06:ad:ae:7a:c8","ifname":"flannel.1","dst":"172.28.128.102","flags":["self"]}]`,
  "udp":
    `[${HOST_ROUTES},{"dst":"10.20.0.0/16","dev":"flannel0","protocol":"102","scope":"link","flags":[]}]
    []
    [{"mac":"33:33:00:00:00:01","ifname":"eth1","flags":["self"],"state":"permanent"}]`,
  "host-gw":
    `[${HOST_ROUTES},{"dst":"10.20.33.0/24","gateway":"172.28.128.102","dev":"eth1","protocol":"102","flags":[]}]
    []
    []`,
};

/** As the command prints it: a line each. */
function dumpOf(type: GuideBackend["type"]) {
  return parseDump(RECORDED[type].replace(/,\n */g, ","));
}

for (const backend of BACKENDS) {
  Deno.test(`wantedObjects() is what a host by ${backend.type} has, and differs when one is missing`, () => {
    const dump = dumpOf(backend.type);
    const wanted = wantedObjects(LEASES, OWN, NETWORK, backend);
    assertEquals(programmedObjects(dump, backend), wanted);
    const without = { ...dump, routes: dump.routes.filter(({ protocol }) => protocol !== "102") };
    assertEquals(
      wanted.filter((line) => !programmedObjects(without, backend).includes(line)).length,
      1,
    );
  });
}

Deno.test("hostRoutes() has the host's own routes, whatever the container network's are", () => {
  const expected = hostRoutes(dumpOf("udp"));
  assertEquals(expected.length, 2);
  for (const { type } of BACKENDS) assertEquals(hostRoutes(dumpOf(type)), expected);
});

Deno.test("remoteAddresses() has where packets of the network are sent to", () => {
  assertEquals(remoteAddresses(dumpOf("vxlan")), ["172.28.128.102"]);
  assertEquals(remoteAddresses(dumpOf("host-gw")), ["172.28.128.102"]);
  assertEquals(remoteAddresses(dumpOf("udp")), []);
});

Deno.test("isContainerAddress() knows the container networks from the hosts' own", () => {
  for (const address of ["10.20.0.0/16", "10.250.3.1"]) {
    assertEquals(isContainerAddress(address), true);
  }
  for (const address of ["default", "10.0.2.0/24", "172.28.128.0/24", "10.2.0.0"]) {
    assertEquals(isContainerAddress(address), false);
  }
});
