/**
 * The host's firewall could not be read or changed. The message is one line with the failed command, the reason,
 * and advice where there is any.
 */
export class FirewallError extends Error {
  override readonly name = "FirewallError";
  /** Exit status of the command, when one ran to its end. */
  readonly status?: number;
  /** Kernel module that the command needs and that is not loaded. */
  readonly missingModule?: string;

  constructor(
    message: string,
    options: ErrorOptions & Pick<FirewallError, "status" | "missingModule"> = {},
  ) {
    super(message, options);
    if (options.status !== undefined) this.status = options.status;
    if (options.missingModule !== undefined) this.missingModule = options.missingModule;
  }
}
