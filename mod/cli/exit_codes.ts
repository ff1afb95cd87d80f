/**
 * Exit codes of the program.
 *
 * | code | when |
 * |---|---|
 * | 0 | the agent was stopped by a signal; a subcommand did its work; `-help`, `-version` |
 * | 1 | a failure: no usable interface, an address that another host holds, a file that cannot be written, no firewall tool for `-ip-masq`, a defect in the program |
 * | 2 | usage error: a command line or an environment that cannot be used; another start cannot help |
 * | 128 + n | ended at once by signal n: the second of two, or one that the agent does not handle |
 *
 * flannel has the same codes, except that 2 is also a panic; newer flannel exits with 0 on an unknown flag and on a
 * revoked lease.
 *
 * @module
 */

/** Done, or stopped as asked. */
export const EXIT_OK = 0;
/** A failure; the last line of the log names it. */
export const EXIT_FAILURE = 1;
/** Usage error: the command line or the environment cannot be used. */
export const EXIT_USAGE = 2;

/** The meanings of a subcommand's exit codes. Every subcommand has {@linkcode EXIT_USAGE} besides. */
export type ExitCodes = Readonly<Partial<Record<0 | 1 | 3, string>>>;

/** Lists exit codes in a line: `Exit codes: 0 printed; 2 usage error.` */
export function exitCodesText(codes: ExitCodes): string {
  const meanings: Readonly<Record<string, string>> = { ...codes, [EXIT_USAGE]: "usage error" };
  // An object's integer keys are in ascending order.
  const list = Object.entries(meanings).map(([code, meaning]) => `${code} ${meaning}`);
  return `Exit codes: ${list.join("; ")}.`;
}
