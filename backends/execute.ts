import { verbose, warning } from "../mod/observe/mod.ts";
import type { Netlink, Operation } from "../mod/sys/mod.ts";

/** How many of a batch's refusals are logged: they are rarely alone, and the first tell the cause. */
const SHOWN = 3;

/**
 * Carries operations out and logs what the kernel refused.
 *
 * @param why names the occasion in the log at `-v=2`
 * @returns how many operations the kernel refused
 */
export function execute(netlink: Netlink, operations: readonly Operation[], why: string): number {
  if (operations.length === 0) return 0;
  const started = performance.now();
  const { applied, failures, systemCalls } = netlink.execute(operations);
  verbose(
    2,
    `${why}: ${applied} of ${operations.length} kernel objects in ` +
      `${(performance.now() - started).toFixed(1)} ms, ${systemCalls} system calls`,
  );
  for (const { error } of failures.slice(0, SHOWN)) warning(error.message);
  if (failures.length > SHOWN) warning(`... and ${failures.length - SHOWN} more such errors`);
  return failures.length;
}
