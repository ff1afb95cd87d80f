import { assertEquals } from "@std/assert";
import { hasChecksumBug, wantedTxChecksum } from "./checksum.ts";

Deno.test("hasChecksumBug() knows the releases that have the fix", () => {
  const fixed = [
    ...["5.7.0", "5.7", "5.10.0-28-amd64", "6.1.0-18-amd64", "6.18.5", "10.0.0"],
    ...["5.6.13", "5.6.19", "5.4.41", "5.4.250", "4.19.123", "4.14.181-140.257.amzn2.x86_64"],
    ...["4.18.0-305.el8.x86_64", "4.18.0-553.16.1.el8_10.x86_64"],
    "5.14.0-427.el9.x86_64",
  ];
  for (const release of fixed) assertEquals(hasChecksumBug(release), false, release);
});

Deno.test("hasChecksumBug() holds all others for broken", () => {
  const broken = [
    ...["5.6.12", "5.6", "5.5.19", "5.4.40", "5.4.0-42-generic", "5.3.18", "5.0.0-1"],
    ...["4.19.122", "4.19.0-6-amd64", "4.14.180", "4.15.0-101-generic", "4.9.320", "4.18.20"],
    ...["4.18.0-147.el8.x86_64", "3.10.0-1127.8.2.el7.x86_64", "", "unknown"],
  ];
  for (const release of broken) assertEquals(hasChecksumBug(release), true, release);
});

Deno.test("wantedTxChecksum() follows the option, and by default only turns off broken offloads", () => {
  for (const release of ["5.4.0", "6.18.5"]) {
    assertEquals(wantedTxChecksum("on", release), true);
    assertEquals(wantedTxChecksum("off", release), false);
  }
  assertEquals(wantedTxChecksum("auto", "5.4.0"), false);
  assertEquals(wantedTxChecksum("auto", "6.18.5"), undefined);
});
