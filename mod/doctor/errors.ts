import { ProviderError } from "../../backends/provider/errors.ts";
import { isTimeout } from "../async/timeout.ts";
import { ConfigError } from "../config/errors.ts";
import { ExportError } from "../export/errors.ts";
import { FirewallError } from "../firewall/errors.ts";
import { InterfaceError } from "../host/errors.ts";
import { SysctlError } from "../host/sysctl.ts";
import { StoreError } from "../store/errors.ts";
import { AcquireError } from "../subnet/acquire.ts";
import { isRefusal, SysError } from "../sys/mod.ts";
import { Unavailable } from "./check.ts";

/** Errors whose message is complete for an operator. */
const EXPECTED = [
  ...[AcquireError, ConfigError, ExportError, FirewallError, InterfaceError, ProviderError],
  StoreError,
  ...[SysError, SysctlError],
];

/**
 * Returns why something could not be checked, in a few words.
 *
 * @throws the error when it is a defect
 */
export function reasonNotChecked(error: unknown): string {
  if (error instanceof Unavailable) return error.message;
  if (Deno.uid() !== 0 && takesRoot(error)) return "it takes root: run as root";
  if (isTimeout(error)) return "no answer in time";
  if (error instanceof Error && EXPECTED.some((kind) => error instanceof kind)) {
    return error.message;
  }
  throw error;
}

/** Returns whether the kernel or a tool refused; other users than root cannot find out why. */
function takesRoot(error: unknown): boolean {
  return error instanceof FirewallError || error instanceof Deno.errors.NotCapable ||
    isRefusal(error);
}
