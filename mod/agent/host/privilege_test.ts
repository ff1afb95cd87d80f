import { assertEquals, assertThrows } from "@std/assert";
import { loadBackend } from "../../../backends/registry.ts";
import { PrivilegeError, readPrivilege, requirePrivilege } from "./privilege.ts";

const ROOT = { capabilities: 0x1ffffffffffn, uid: 0 };
const NOBODY = { capabilities: 0n, uid: 65534 };

Deno.test("requirePrivilege() asks for CAP_NET_ADMIN where the kernel is changed, and nowhere else", async () => {
  const admin = { capabilities: 0x1000n, uid: 65534 };
  const others = { capabilities: 0x1ffffffefffn, uid: 0 };
  for (const type of ["host-gw", "udp", "vxlan"]) {
    const backend = await loadBackend(type);
    requirePrivilege(backend, true, ROOT);
    requirePrivilege(backend, false, admin);
    requirePrivilege(backend, false, undefined);
    assertEquals(
      assertThrows(() => requirePrivilege(backend, false, NOBODY), PrivilegeError).message,
      `backend ${type} needs CAP_NET_ADMIN, which this process does not have: run it as root, or ` +
        "give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
    );
    assertThrows(
      () => requirePrivilege(backend, false, others),
      PrivilegeError,
      "give its unit CapabilityBoundingSet=CAP_NET_ADMIN",
    );
  }
  for (const type of ["alloc", "aws-vpc", "gce"]) {
    const backend = await loadBackend(type);
    requirePrivilege(backend, false, NOBODY);
    assertThrows(
      () => requirePrivilege(backend, true, NOBODY),
      PrivilegeError,
      "-ip-masq needs CAP_NET_ADMIN",
    );
  }
});

Deno.test("readPrivilege() reads the effective set and user of this process", async () => {
  const status = await Deno.readTextFile("/proc/self/status");
  const own = readPrivilege(status)!;
  assertEquals(own.uid, Deno.uid());
  const [, mask] = /CapEff:\t(\S+)/.exec(status)!;
  assertEquals(own.capabilities.toString(16).padStart(16, "0"), mask);
  assertEquals(readPrivilege("Uid:\t0\t65534\t0\t0\nCapEff:\t0000000000003000\n"), {
    capabilities: 0x3000n,
    uid: 65534,
  });
  assertEquals(readPrivilege("Name:\tflanneld\n"), undefined);
});
