import { assertEquals, assertRejects } from "@std/assert";
import { libc } from "../../sys/ffi/libc.ts";
import { CniError } from "../errors.ts";
import { LeaseFile, readLeases } from "./lease_file.ts";

libc();

Deno.test("LeaseFile keeps leases, and lets one call at a time have them", async () => {
  const directory = await Deno.makeTempDir();
  const leaseDir = `${directory}/cni`;
  const lease = { containerID: "c1", ifname: "eth0", hostEnd: "veth1", address: 1 };
  try {
    {
      using file = await LeaseFile.open(leaseDir, "cbr0");
      assertEquals(file.leases, { leases: [] });
      const late = await assertRejects(() => LeaseFile.open(leaseDir, "cbr0", 50), CniError);
      assertEquals(late.code, 11);
      using _other = await LeaseFile.open(leaseDir, "cbr1", 0);
      file.save({ leases: [lease], last: 1 });
    }
    using again = await LeaseFile.open(leaseDir, "cbr0", 0);
    assertEquals(again.leases, { leases: [lease], last: 1 });
    assertEquals((await Deno.stat(`${leaseDir}/cbr0.json`)).mode! & 0o777, 0o600);
    assertEquals(readLeases(leaseDir, "cbr0"), again.leases);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("LeaseFile.open() reports a damaged file, and keeps it", async () => {
  const leaseDir = await Deno.makeTempDir();
  const path = `${leaseDir}/cbr0.json`;
  try {
    await Deno.writeTextFile(path, '{"version":1,"lea');
    for (let attempt = 0; attempt < 2; attempt++) {
      // The first attempt has given the lock back.
      const error = await assertRejects(() => LeaseFile.open(leaseDir, "cbr0", 0), CniError);
      assertEquals([error.code, error.message], [5, `${path} is damaged`]);
    }
    assertEquals(await Deno.readTextFile(path), '{"version":1,"lea');
  } finally {
    await Deno.remove(leaseDir, { recursive: true });
  }
});
