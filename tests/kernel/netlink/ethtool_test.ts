import { assertEquals, assertThrows } from "@std/assert";
import {
  libc,
  setTransmitChecksumOffload,
  SysError,
  transmitChecksumOffload,
} from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

/** A feature as ethtool(8) shows it. */
async function feature(namespace: NetworkNamespace, name: string): Promise<string | undefined> {
  const text = await namespace.exec("ethtool", "-k", "flannel.1");
  return new RegExp(`^\\s*${name}: (\\w+)`, "m").exec(text)?.[1];
}

Deno.test("setTransmitChecksumOffload() is ethtool -K tx-checksum-ip-generic", async () => {
  await using namespace = await NetworkNamespace.create();
  const { path: netns } = namespace;
  await namespace.ip(..."link add flannel.1 type vxlan id 1 dstport 8472".split(" "));
  for (const on of [false, true, true, false]) {
    setTransmitChecksumOffload("flannel.1", on, { netns });
    assertEquals(await feature(namespace, "tx-checksum-ip-generic"), on ? "on" : "off");
    assertEquals(await feature(namespace, "tx-tcp-segmentation"), on ? "on" : "off");
    assertEquals(transmitChecksumOffload("flannel.1", { netns }), on);
  }
  // The getters see changes by ethtool.
  await namespace.exec("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", "on");
  assertEquals(transmitChecksumOffload("flannel.1", { netns }), true);
  assertThrows(
    () => transmitChecksumOffload("flannel.2", { netns }),
    SysError,
    "ioctl SIOCETHTOOL flannel.2: ENODEV: no such device",
  );
  assertThrows(() => transmitChecksumOffload("a-name-of-16-byt", { netns }), RangeError);
});
