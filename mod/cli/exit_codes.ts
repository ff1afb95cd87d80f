/**
 * Exit codes of the program.
 *
 * | code | when |
 * |---|---|
 * | 0 | the agent was stopped by a signal; a subcommand did its work; `-help`, `-version` |
 * | 1 | a failure: no usable interface, an address another host holds, a file that cannot be written, no firewall tool for `-ip-masq`, a defect in the program |
 * | 2 | a command line or an environment that cannot be used; starting again cannot help |
 * | 128 + n | ended at once by signal n: the second of two, or one the agent does not handle |
 *
 * flannel's are the same, but for the defects: there, 2 is also a panic, newer ones leave with 0 on
 * an unknown flag and on a revoked lease.
 *
 * @module
 */

/** Done, or stopped as asked. */
export const EXIT_OK = 0;
/** Something failed; the last line of the log says what. */
export const EXIT_FAILURE = 1;
/** The command line or the environment must be put right first. */
export const EXIT_USAGE = 2;
