import { assertEquals } from "@std/assert";
import { Errno, SysError } from "../ffi/errno.ts";
import { BpfError } from "./error.ts";

Deno.test("BpfError has the verifier's reason in one line, and keeps the log", () => {
  const cause = new SysError("BPF_PROG_LOAD", Errno.EACCES);
  const log = "0: (61) r0 = *(u32 *)(r1 +0)\n1: (95) exit\nR0 !read_ok\n" +
    "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
  const error = new BpfError("encapsulate", cause, log);
  assertEquals(
    error.message,
    "BPF program encapsulate: R0 !read_ok; BPF_PROG_LOAD: EACCES: permission denied",
  );
  assertEquals([error.log, error.cause], [log, cause]);
  assertEquals(
    new BpfError("encapsulate", cause, "").message,
    "BPF program encapsulate: BPF_PROG_LOAD: EACCES: permission denied",
  );
});
