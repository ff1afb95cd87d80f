import { EXIT_USAGE } from "./exit_codes.ts";

/** Options of {@linkcode UsageError}. */
export interface UsageErrorOptions extends ErrorOptions {
  /** A second line: the probable intention, or the help to read. */
  readonly hint?: string;
}

/** A command line or an environment that cannot be used. The message is one line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly exitCode = EXIT_USAGE;
  readonly hint: string | undefined;

  constructor(message: string, options: UsageErrorOptions = {}) {
    const { hint, ...rest } = options;
    super(message, rest);
    this.hint = hint;
  }
}
