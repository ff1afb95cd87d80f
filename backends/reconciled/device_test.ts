import { assertStringIncludes, assertThrows } from "@std/assert";
import { Errno, LinkKind, Netlink, SysError } from "../../mod/sys/mod.ts";
import { RTM_GETLINK } from "../../mod/sys/netlink/objects/link.ts";
import { Recorder } from "../../mod/sys/netlink/testing/recorder.ts";
import { ensureDevice } from "./device.ts";

Deno.test("ensureDevice() names the kernel module that the kind of links needs", () => {
  const netlink = new Netlink(
    new Recorder({
      refuse: ({ type }) => type === RTM_GETLINK ? Errno.ENODEV : Errno.EOPNOTSUPP,
    }),
  );
  const codec = { encode: () => {}, decode: () => ({}), describe: () => [] };
  const messageOf = (name: string, module?: string) => {
    const kind = new LinkKind({ ...codec, name, ...(module === undefined ? {} : { module }) });
    const spec = { name: "flannel.x", mtu: 1450, kind, attributes: {}, mismatch: () => undefined };
    return assertThrows(() => ensureDevice(netlink, spec), SysError).message;
  };
  assertStringIncludes(messageOf("kind-x"), "type kind-x: EOPNOTSUPP");
  assertStringIncludes(messageOf("kind-x"), "the kernel has no module kind-x: install it");
  assertStringIncludes(messageOf("gretap", "ip_gre"), "type gretap: EOPNOTSUPP");
  assertStringIncludes(
    messageOf("gretap", "ip_gre"),
    "the kernel has no module ip_gre: install it",
  );
});
