import { assertEquals } from "@std/assert";
import { BpfError } from "../../../mod/sys/bpf/mod.ts";
import { Errno, SysError } from "../../../mod/sys/mod.ts";
import { UnsuitableError } from "./errors.ts";
import { isFinal, isInterfaceGone, isRefusalOfPath } from "./refusal.ts";

Deno.test("isFinal() distinguishes permanent errors from transient ones", () => {
  const of = (call: string, errno: number) => isFinal(new SysError(call, errno));
  assertEquals(of("BPF_MAP_CREATE", Errno.EPERM), true);
  assertEquals(of("BPF_MAP_CREATE", Errno.EINVAL), true);
  assertEquals(of("mkdir", 30), true, "EROFS");
  assertEquals(of("mount", Errno.ENODEV), true);
  assertEquals(of("BPF_LINK_CREATE", Errno.ENODEV), false);
  assertEquals(of("BPF_MAP_UPDATE_ELEM", Errno.ENOMEM), false);
  assertEquals(of("BPF_OBJ_PIN", Errno.ENOENT), false);
  const verifier = (errno: number) =>
    isFinal(new BpfError("decap", new SysError("BPF_PROG_LOAD", errno), "R1 invalid mem access"));
  assertEquals(verifier(Errno.EACCES), true);
  assertEquals(verifier(7), true, "E2BIG");
  assertEquals(verifier(Errno.ENOMEM), false);
  assertEquals(isFinal(new UnsuitableError("no Ethernet")), true);
});

Deno.test("isRefusalOfPath() is false for a defect", () => {
  assertEquals(isRefusalOfPath(new TypeError("undefined")), false);
  assertEquals(isRefusalOfPath(new SysError("mount", Errno.EPERM)), true);
});

Deno.test("isInterfaceGone() finds ENODEV, but not a file system that the kernel lacks", () => {
  const of = (call: string, errno: number) => new SysError(call, errno);
  assertEquals(isInterfaceGone(of("ioctl SIOCETHTOOL", Errno.ENODEV)), true);
  const attach = new BpfError("decap", of("BPF_LINK_CREATE", Errno.ENODEV), "");
  assertEquals(isInterfaceGone(attach), true);
  assertEquals(isInterfaceGone(of("mount", Errno.ENODEV)), false);
  assertEquals(isInterfaceGone(of("BPF_LINK_CREATE", Errno.ENOENT)), false);
  assertEquals(isInterfaceGone(new UnsuitableError("no Ethernet")), false);
});
