import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ConfigError, GoObject } from "../../mod/config/mod.ts";
import { formatIPv4 } from "../../mod/ip/mod.ts";
import { decodeLeaseValue, encodeLeaseValue } from "../../mod/lease/mod.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { Errno, Netlink, SysError } from "../../mod/sys/mod.ts";
import { RTM_GETLINK } from "../../mod/sys/netlink/objects/link.ts";
import { Recorder } from "../../mod/sys/netlink/testing/recorder.ts";
import { leaseAttributes } from "../lease_attributes.ts";
import { peerObjects } from "../reconciled/driver.ts";
import {
  makeLease,
  OWN_SUBNET,
  peerContext,
  recordedChanges,
  recordingContext,
} from "../testing/unit_kit.ts";
import { ipipBackend } from "./ipip.ts";

/** The value that flannel 0.28 writes. */
const FLANNEL = '{"PublicIP":"172.28.128.102","PublicIPv6":null,"BackendType":"ipip"}';

const PEER = makeLease("10.20.65.0/24", "172.28.128.102", { backendType: "ipip" });

Deno.test("ipip makes flannel's device, and an onlink route to each peer by its public IP", async () => {
  const context = await recordingContext({ Type: "ipip" });
  const network = await ipipBackend.prepare(context);
  assertEquals([network.mtu, network.ingress], [1480, { device: "flannel.ipip" }]);
  const attributes = leaseAttributes(ipipBackend, network, context.external, "v0.20");
  const own = { ...makeLease(OWN_SUBNET, formatIPv4(attributes.publicIP)), attributes };
  const stranger = makeLease("10.20.66.0/24", "172.28.128.103", { backendType: "vxlan" });
  assertEquals(await network.sync(own, new LeaseSet([own, PEER, stranger])), 0);
  assertEquals(recordedChanges(context), [
    "+ device flannel.ipip type ipip remote any local 172.28.128.101 mtu 1480 up",
    "+ address 10.20.93.0/32 dev flannel.ipip",
    "+ route 10.20.65.0/24 via 172.28.128.102 dev flannel.ipip proto 102 onlink",
  ]);
  assertEquals([...network.status().refused.values()], ["is non-ipip: type=vxlan"]);
});

Deno.test("ipip reads and writes the lease values of flannel 0.28", async () => {
  assertEquals(decodeLeaseValue(FLANNEL), PEER.attributes);
  const context = await recordingContext({ Type: "ipip" });
  const network = await ipipBackend.prepare(context);
  const attributes = leaseAttributes(ipipBackend, network, context.external, "v0.20");
  assertEquals(encodeLeaseValue(attributes, "v0.20"), FLANNEL.replace("102", "101"));
});

Deno.test("ipip routes to a direct peer without the device", async () => {
  const driver = ipipBackend.driver(
    await recordingContext({ Type: "ipip", DirectRouting: true }),
  );
  assertEquals(driver.directRouting, true);
  const context = peerContext({ isDirect: () => true });
  const { route } = peerObjects(driver, PEER, context);
  assertEquals([route.oif, route.gateway, route.onlink], [
    ...[context.external.index, PEER.attributes.publicIP, false],
  ]);
});

Deno.test("ipip refuses an option of the wrong type, and an interface without room", () => {
  const read = (text: string, mtu = 1500) => ipipBackend.mtuFor!(GoObject.parse(text), mtu);
  assertEquals(read('{"directrouting": true}', 9000), 8980);
  assertThrows(() => read('{"DirectRouting": "yes"}'), ConfigError, "DirectRouting");
  assertThrows(() => read("{}", 80), ConfigError, "an interface MTU of at least 88, not 80");
});

Deno.test("ipip says in one line that the kernel has no such devices", async () => {
  const netlink = new Netlink(
    new Recorder({
      refuse: ({ type }) => type === RTM_GETLINK ? Errno.ENODEV : Errno.EOPNOTSUPP,
    }),
  );
  const context = { ...await recordingContext({ Type: "ipip" }), netlink };
  const { message } = await assertRejects(() => ipipBackend.prepare(context), SysError);
  assertEquals(
    message,
    "RTM_NEWLINK flannel.ipip type ipip: EOPNOTSUPP: operation not supported (the kernel has no module " +
      "ipip: install it, or choose another Backend.Type)",
  );
});
