import { assertEquals, assertMatch } from "@std/assert";
import { hostIdentity } from "./identity.ts";

const BOOT_ID = "6f2dcd5c-8a3a-4c43-9d5e-4b2f5cbb26f5";
const MACHINE_ID = "9f1c0d7a5be64b3f8d3d3f8f3c1e2a4b";

/** Runs `test` on a file tree with a boot id and these files. */
function withRoot(files: Record<string, string>, test: (root: string) => void): void {
  const root = Deno.makeTempDirSync();
  try {
    const all = { "proc/sys/kernel/random/boot_id": `${BOOT_ID}\n`, ...files };
    for (const [path, text] of Object.entries(all)) {
      Deno.mkdirSync(`${root}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      Deno.writeTextFileSync(`${root}/${path}`, text);
    }
    test(root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("hostIdentity() reads this host's", () => {
  const identity = hostIdentity();
  assertMatch(identity.machineId, /^[0-9a-f]{32}$/);
  assertMatch(identity.bootId, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assertEquals(identity.hostname, Deno.hostname());
  assertEquals(hostIdentity(), identity);
});

Deno.test("hostIdentity() reads /etc/machine-id first, then D-Bus's", () => {
  withRoot(
    { "etc/machine-id": `${MACHINE_ID}\n`, "var/lib/dbus/machine-id": "0".repeat(32) },
    (root) => assertEquals(hostIdentity({ root }).machineId, MACHINE_ID),
  );
  withRoot({ "var/lib/dbus/machine-id": `${MACHINE_ID}\n` }, (root) => {
    assertEquals(hostIdentity({ root }), {
      machineId: MACHINE_ID,
      hostname: Deno.hostname(),
      bootId: BOOT_ID,
    });
  });
});

Deno.test("hostIdentity() takes the boot id where there is no machine id", () => {
  for (const text of ["", "uninitialized\n", "not hex at all"]) {
    withRoot({ "etc/machine-id": text }, (root) => {
      assertEquals(hostIdentity({ root }).machineId, BOOT_ID.replaceAll("-", ""));
    });
  }
  withRoot({}, (root) => {
    assertEquals(hostIdentity({ root }).machineId, BOOT_ID.replaceAll("-", ""));
  });
});
