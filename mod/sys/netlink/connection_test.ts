import { assertEquals, assertThrows } from "@std/assert";
import { parseIPv4 } from "../../ip/mod.ts";
import { Errno, SysError } from "../ffi/errno.ts";
import { RTM_NEWADDR, writeAddress } from "./objects/address.ts";
import { Netlink } from "./connection.ts";
import { RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, writeLinkChange } from "./objects/link.ts";
import { VXLAN } from "./objects/vxlan.ts";
import { NLM_F_DUMP_INTR, NLMSG_DONE } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import { type RecordedMessage, Recorder } from "./testing/recorder.ts";

const address = {
  index: 3,
  address: parseIPv4("192.168.56.101")!,
  prefixLength: 24,
  scope: 0,
  flags: 0x80,
};

function datagram(...indexes: number[]): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter();
  for (const index of indexes) writeAddress(writer, RTM_NEWADDR, 0, 0, { ...address, index });
  return writer.bytes.slice();
}

Deno.test("Netlink.addresses() joins the datagrams of a dump and applies the filter itself", () => {
  const recorder = new Recorder({ reply: () => [datagram(1, 3), datagram(), datagram(3, 4)] });
  using netlink = new Netlink(recorder);
  assertEquals(netlink.addresses().map(({ index }) => index), [1, 3, 3, 4]);
  assertEquals(netlink.addresses({ index: 3 }), [address, address]);
});

Deno.test("Netlink.addresses() dumps again when the table changed under the dump", () => {
  let dumps = 0;
  const recorder = new Recorder({
    reply: () => {
      const bytes = datagram(++dumps);
      if (dumps < 3) new DataView(bytes.buffer).setUint16(6, NLM_F_DUMP_INTR, true);
      return [bytes];
    },
  });
  using netlink = new Netlink(recorder);
  assertEquals(netlink.addresses().map(({ index }) => index), [3]);
  assertEquals(dumps, 3);
});

Deno.test("Netlink.addresses() gives up on a table that never holds still", () => {
  const recorder = new Recorder({
    reply: () => {
      const bytes = datagram(1);
      new DataView(bytes.buffer).setUint16(6, NLM_F_DUMP_INTR, true);
      return [bytes];
    },
  });
  using netlink = new Netlink(recorder);
  const error = assertThrows(
    () => netlink.addresses(),
    SysError,
    "changed during each of 10 dumps",
  );
  assertEquals(error.code, "EINTR");
  assertEquals(recorder.messages.length, 10);
});

Deno.test("Netlink.addresses() finds nothing on an interface that is not there", () => {
  using netlink = new Netlink(new Recorder({ refuse: () => Errno.ENODEV }));
  assertEquals(netlink.addresses({ index: 9 }), []);
});

Deno.test("Netlink.addresses() throws what a dump ends with", () => {
  const done = new MessageWriter();
  done.begin(NLMSG_DONE, 0, 0);
  done.u32(-Errno.EPERM >>> 0);
  done.end();
  using netlink = new Netlink(new Recorder({ reply: () => [datagram(1), done.bytes.slice()] }));
  const error = assertThrows(() => netlink.addresses(), SysError, "RTM_GETADDR: EPERM");
  assertEquals(error.syscall, "RTM_GETADDR");
});

Deno.test("Netlink.addresses() leaves the socket fit for use after a malformed answer", () => {
  let broken = true;
  const recorder = new Recorder({
    reply: () => broken ? [new Uint8Array(5), datagram(7)] : [datagram(3)],
  });
  using netlink = new Netlink(recorder);
  assertThrows(() => netlink.addresses(), Error, "message of 0 bytes with 5 bytes left");
  broken = false;
  assertEquals(netlink.addresses(), [address]);
});

Deno.test("Netlink.link() distinguishes the absent from the forbidden", () => {
  const errors = new Map([["eth9", Errno.ENODEV], ["eth1", Errno.EPERM]]);
  const nameOf = ({ bytes }: RecordedMessage) =>
    [...errors.keys()].find((name) => new TextDecoder().decode(bytes).includes(name));
  const recorder = new Recorder({ refuse: (message) => errors.get(nameOf(message) ?? "") ?? 0 });
  using netlink = new Netlink(recorder);
  assertEquals(netlink.link("eth9"), undefined);
  assertThrows(() => netlink.link("eth1"), SysError, "RTM_GETLINK eth1: EPERM");
  const asked = recorder.messages.length;
  assertEquals([netlink.link(""), netlink.linkByIndex(0)], [undefined, undefined]);
  assertEquals(recorder.messages.length, asked);
});

Deno.test("Netlink.createLink() returns the device as the kernel made it", () => {
  const recorder = new Recorder({
    reply: (message) => {
      if (message.type !== RTM_GETLINK) return [];
      const writer = new MessageWriter();
      writeLinkChange(writer, 0, 0, 12, { up: true, mtu: 1400, mac: "02:11:22:33:44:55" });
      return [writer.bytes.slice()];
    },
  });
  using netlink = new Netlink(recorder);
  const link = netlink.createLink({
    name: "flannel.1",
    mtu: 1450,
    mac: "02:11:22:33:44:55",
    kind: VXLAN,
    attributes: { vni: 1, link: 3, local: address.address, port: 8472 },
  });
  assertEquals([link.index, link.mtu, link.flags], [12, 1400, 1]);
  assertEquals(recorder.messages.map(({ type }) => type), [RTM_NEWLINK, RTM_GETLINK]);
});

Deno.test("Netlink.deleteLink() returns whether there was one", () => {
  let errno = 0;
  const recorder = new Recorder({ refuse: () => errno });
  using netlink = new Netlink(recorder);
  assertEquals(netlink.deleteLink(4), true);
  errno = Errno.ENODEV;
  assertEquals(netlink.deleteLink(4), false);
  errno = Errno.EPERM;
  assertThrows(() => netlink.deleteLink(4), SysError, "RTM_DELLINK interface 4: EPERM");
  assertEquals(recorder.messages.every(({ type }) => type === RTM_DELLINK), true);
});

Deno.test("Netlink gives its transport back", () => {
  const recorder = new Recorder();
  new Netlink(recorder)[Symbol.dispose]();
  assertEquals(recorder.disposed, true);
});
