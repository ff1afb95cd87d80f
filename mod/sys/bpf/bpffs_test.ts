import { assertEquals } from "@std/assert";
import { isMounted, isReadOnly } from "./bpffs.ts";

const SYSFS = "25 31 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw";

Deno.test("isMounted() finds the BPF file system among the mounts, with and without tags", () => {
  const bpf = "34 25 0:30 / /sys/fs/bpf rw,nosuid shared:11 - bpf bpf rw,mode=700";
  assertEquals(isMounted(`${SYSFS}\n${bpf}\n`), true);
  assertEquals(isMounted("34 25 0:30 / /sys/fs/bpf rw - bpf none rw"), true);
  assertEquals(isMounted(`${SYSFS}\n`), false);
  assertEquals(isMounted("34 25 0:30 / /sys/fs/bpf rw - tmpfs bpf rw"), false);
  assertEquals(isMounted("34 25 0:30 / /mnt/bpf rw - bpf bpf rw"), false);
});

Deno.test("isReadOnly() reads the BPF file system that was mounted last", () => {
  const mount = (own: string, all: string) =>
    `34 25 0:30 / /sys/fs/bpf ${own},nosuid shared:11 - bpf bpf ${all},mode=700\n`;
  assertEquals(isReadOnly(SYSFS.replaceAll("rw", "ro")), false);
  assertEquals(isReadOnly(mount("rw", "rw")), false);
  assertEquals(isReadOnly(mount("ro", "rw")), true);
  assertEquals(isReadOnly(mount("rw", "ro")), true);
  assertEquals(isReadOnly(mount("rw", "rw") + mount("ro", "ro")), true);
  assertEquals(isReadOnly(mount("ro", "ro") + mount("rw", "rw")), false);
});
