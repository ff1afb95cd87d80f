import { assertEquals, assertMatch } from "@std/assert";
import { ConfigError } from "../config/errors.ts";
import { ExportError } from "../export/errors.ts";
import { FirewallError } from "../firewall/errors.ts";
import { InterfaceError } from "../host/errors.ts";
import { StoreError, StoreUnavailableError } from "../store/errors.ts";
import { DuplicatePublicIPError } from "../subnet/identity.ts";
import { SysError } from "../sys/errno.ts";
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
    ]
  ) assertEquals(reportError(error), { text: "what", exitCode: 1 });
  const denied = new SysError("bind", 13);
  assertEquals(reportError(denied), { text: denied.message, exitCode: 1 });
  const duplicate = new DuplicatePublicIPError(0x0a00020f, "host102");
  assertEquals(reportError(duplicate), { text: duplicate.message, exitCode: 1 });
});

Deno.test("reportError() adds the hint of a UsageError, and exits 2", () => {
  assertEquals(reportError(new UsageError("what")), { text: "what", exitCode: 2 });
  assertEquals(reportError(new UsageError("what", { hint: "try" })), {
    text: "what\ntry",
    exitCode: 2,
  });
});

Deno.test("reportError() shows the stack of a defect, and exits 1", () => {
  const { text, exitCode } = reportError(new TypeError("x is not a function"));
  assertMatch(text, /^a defect of flanneld.*TypeError: x is not a function\n\s+at .*_test\.ts/s);
  assertEquals(exitCode, 1);
  assertEquals(reportError("thrown").text.endsWith("report it: thrown"), true);
});
