import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import { Errno } from "../ffi/errno.ts";
import { DryRunNetlink } from "./dry_run.ts";
import { Recorder } from "./testing/recorder.ts";
import type { NewLink } from "./objects/link_kind.ts";
import { VXLAN as KIND, type VxlanAttributes } from "./objects/vxlan.ts";
import type { InterfaceAddress, Route } from "./wire/types.ts";
import { IFF_UP } from "../linux_constants.ts";

/** RTM_GETLINK of linux/rtnetlink.h. */
const RTM_GETLINK = 18;

const VXLAN: NewLink<VxlanAttributes> = {
  name: "flannel.1",
  mtu: 1450,
  mac: "02:00:00:00:00:01",
  kind: KIND,
  attributes: {
    ...{ vni: 1, link: 2, local: parseIPv4("192.0.2.1")!, port: 8472 },
    ...{ learning: false, gbp: false },
  },
};

/** A connection to a kernel without any link. */
function open(): { recorder: Recorder; netlink: DryRunNetlink } {
  const recorder = new Recorder({
    refuse: ({ type, flags }) => type === RTM_GETLINK && (flags & 0x300) === 0 ? Errno.ENODEV : 0,
  });
  return { recorder, netlink: new DryRunNetlink(recorder) };
}

/** True when nothing but queries was sent. */
function onlyAsked({ messages }: Recorder): boolean {
  return messages.every(({ type }) => (type & 3) === 2);
}

Deno.test("DryRunNetlink finds a link again that was made, and sends nothing to make it", () => {
  const { recorder, netlink } = open();
  assertEquals(netlink.link("flannel.1"), undefined);
  const made = netlink.createLink(VXLAN);
  netlink.setLink(made.index, { up: true, mtu: 1400 });
  const link = netlink.link("flannel.1")!;
  assertEquals([link.mtu, link.flags & IFF_UP, link.mac], [1400, IFF_UP, VXLAN.mac]);
  assertEquals(netlink.linkByIndex(made.index), link);
  assertEquals(netlink.links(), [link]);
  assertEquals(netlink.nameOf(made.index), "flannel.1");
  assertEquals(netlink.changes, [{ kind: "link", after: link }]);
  assert(onlyAsked(recorder));
});

Deno.test("DryRunNetlink forgets a link that was made and deleted", () => {
  const { netlink } = open();
  const { index } = netlink.makeLink({ name: "flannel0", kind: "tun", flags: 0, mtu: 1472 });
  assert(netlink.deleteLink(index));
  assertEquals(netlink.link("flannel0"), undefined);
  assertEquals(netlink.changes, []);
  assert(!netlink.deleteLink(index));
});

Deno.test("DryRunNetlink gives no link the index of another", () => {
  const { netlink } = open();
  const first = netlink.makeLink({ name: "a", flags: 0, mtu: 1500 });
  const second = netlink.makeLink({ name: "b", flags: 0, mtu: 1500 });
  netlink.deleteLink(first.index);
  const third = netlink.makeLink({ name: "c", flags: 0, mtu: 1500 });
  assert(second.index !== third.index);
  assertEquals(netlink.links().map(({ name }) => name), ["b", "c"]);
});

Deno.test("DryRunNetlink.execute() records additions, and leaves out deletions of objects that are not there", () => {
  const { recorder, netlink } = open();
  const { index } = netlink.createLink(VXLAN);
  const address: InterfaceAddress = {
    ...{ index, address: parseIPv4("10.20.1.0")!, prefixLength: 32, scope: 0, flags: 0x80 },
  };
  const route: Route = {
    ...{ destination: Prefix.parse("10.20.2.0/24")!, gateway: parseIPv4("10.20.2.0")! },
    ...{ oif: index, onlink: true, protocol: 102, scope: 0, table: 254, metric: 0 },
  };
  const result = netlink.execute([
    { op: "replace", kind: "address", object: address },
    { op: "replace", kind: "route", object: route },
    { op: "delete", kind: "route", object: { ...route, metric: 7 } },
  ]);
  assertEquals(result, { applied: 3, failures: [], systemCalls: 0 });
  assertEquals(netlink.changes.slice(1), [
    { kind: "address", after: address },
    { kind: "route", after: route },
  ]);
  assert(onlyAsked(recorder));
});

Deno.test("DryRunNetlink refuses a change by a way that it does not know", () => {
  const { recorder, netlink } = open();
  assertThrows(
    () => netlink.removeFilter({ index: 1, direction: "ingress", priority: 1 }),
    TypeError,
    "a dry run was to send netlink message",
  );
  assert(onlyAsked(recorder));
});

Deno.test("DryRunNetlink closes what it was opened over", () => {
  const { recorder, netlink } = open();
  netlink[Symbol.dispose]();
  assert(recorder.disposed);
});
