import { info, verbose, warning } from "../mod/observe/mod.ts";
import { Errno, type Netlink, type Operation } from "../mod/sys/mod.ts";
import { counted } from "../mod/text/mod.ts";
import { describeAddress, describeRoute } from "./describe.ts";

/** Number of a batch's refusals that are logged: the first ones show the cause. */
const SHOWN = 3;

/**
 * Carries operations out and logs those that the kernel refused. After a whole sync it also logs the addresses
 * and routes that it removed, because an operator may have added them by hand.
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
  if (why === "sync") {
    logRemovals(netlink, operations, new Set(failures.map(({ operation }) => operation)));
  }
  // An interface that is gone is reported by its own event, and what was on it comes back with it.
  const refused = failures.filter(({ error }) => error.errno !== Errno.ENODEV);
  const gone = failures.length - refused.length;
  if (gone > 0) info(`${why}: the interface of ${counted(gone, "kernel object")} is gone`);
  for (const { error } of refused.slice(0, SHOWN)) warning(error.message);
  if (refused.length > SHOWN) warning(`... and ${refused.length - SHOWN} more such errors`);
  return failures.length;
}

function logRemovals(
  netlink: Netlink,
  operations: readonly Operation[],
  failed: ReadonlySet<Operation>,
): void {
  const nameOf = (index: number) => netlink.linkByIndex(index)?.name ?? `interface ${index}`;
  const removed = operations.filter((operation) =>
    operation.op === "delete" && !failed.has(operation)
  );
  const lines = removed.flatMap(({ kind, object }) => {
    if (kind === "route") return [describeRoute(object, nameOf)];
    return kind === "address" ? [describeAddress(object, nameOf)] : [];
  });
  for (const what of lines.slice(0, SHOWN)) info(`removed ${what}: the network does not use it`);
  const rest = lines.length - SHOWN;
  if (rest > 0) info(`removed ${rest} more such addresses and routes`);
}
