import { assertEquals, assertMatch } from "@std/assert";
import { UnsuitableError } from "../../backends/udp/kernel/errors.ts";
import { ConfigError } from "../config/errors.ts";
import { ExportError } from "../export/errors.ts";
import { FirewallError } from "../firewall/errors.ts";
import { InterfaceError } from "../host/errors.ts";
import { StoreError, StoreUnavailableError } from "../store/errors.ts";
import { DuplicatePublicIPError } from "../subnet/identity.ts";
import { BpfError } from "../sys/bpf/error.ts";
import { SysError } from "../sys/ffi/errno.ts";
import { UsageError } from "./errors.ts";
import { reportError } from "./report_error.ts";

Deno.test("reportError() shows an operator the message alone", () => {
  for (
    const error of [
      new ConfigError("what"),
      new ExportError("what", { cause: new Error("why") }),
      new FirewallError("what"),
      new InterfaceError("what"),
      new StoreError("what"),
      new StoreUnavailableError("what"),
      new UnsuitableError("what"),
    ]
  ) assertEquals(reportError(error), { lines: ["what"], exitCode: 1 });
  const busy = new SysError("bind", 98);
  assertEquals(reportError(busy), { lines: [busy.message], exitCode: 1 });
  const duplicate = new DuplicatePublicIPError(0x0a00020f, "host102");
  assertEquals(reportError(duplicate), { lines: [duplicate.message], exitCode: 1 });
});

Deno.test("reportError() adds the hint of a UsageError, and exits 2", () => {
  assertEquals(reportError(new UsageError("what")), { lines: ["what"], exitCode: 2 });
  assertEquals(reportError(new UsageError("what", { hint: "try" })), {
    lines: ["what", "try"],
    exitCode: 2,
  });
});

Deno.test("reportError() shows the stack of a defect, and exits 1", () => {
  const { lines, exitCode } = reportError(new TypeError("x is not a function"));
  assertMatch(
    lines.join("\n"),
    /^a defect of flanneld.*TypeError: x is not a function\n\s+at .*_test\.ts/s,
  );
  assertEquals(exitCode, 1);
  assertEquals(reportError("thrown").lines.join("\n").endsWith("report it: thrown"), true);
});

Deno.test("reportError() names the user to run as when the host refuses a privilege", () => {
  const hint = "; run as root (or give it CAP_NET_ADMIN and CAP_NET_RAW, and its directories)";
  for (const errno of [1, 13]) {
    const error = new SysError("RTM_NEWLINK", errno, { subject: "flannel.1" });
    assertEquals(reportError(error).lines.join("\n"), error.message + hint);
  }
  const load = new SysError("BPF_PROG_LOAD", 1);
  const unprivileged = new BpfError("flanneld_decap", load, "");
  assertEquals(reportError(unprivileged).lines.join("\n"), unprivileged.message + hint);
  const rejected = new BpfError("flanneld_decap", load, "R0 !read_ok");
  assertEquals(
    reportError(rejected).lines.join("\n"),
    rejected.message,
    "the verifier asks for no privilege",
  );
  const cause = new Deno.errors.PermissionDenied("Permission denied (os error 13)");
  assertEquals(
    reportError(ExportError.from("cannot write /run/flannel/subnet.env", cause)).lines.join("\n"),
    `cannot write /run/flannel/subnet.env: Permission denied (os error 13)${hint}`,
  );
  const store = new StoreError("permission denied", { cause });
  assertEquals(reportError(store).lines.join("\n"), "permission denied");
});
