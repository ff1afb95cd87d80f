import type { FlagValue } from "../../flags/flag_syntax.ts";
import { printError, printQuestion } from "../../output.ts";
import type { OwnFlag } from "../agent_subcommand.ts";

/** Nothing was written: the answer was no, or standard input is not a terminal. */
const EXIT_UNCONFIRMED = 3;

/** Flag of the subcommands that call {@linkcode requireYes}. */
export const YES: OwnFlag = {
  name: "yes",
  kind: "bool",
  help: "write without asking; for scripts",
};

/** Answer to a question. */
export type Answer = "yes" | "no" | "nobody to ask";

/** Where {@linkcode confirm} asks. */
export interface Terminal {
  /** False for a pipe or a file, at which no person answers. */
  readonly isTerminal: boolean;
  readonly input: ReadableStream<Uint8Array>;
  /** Shows the question. */
  readonly write: (text: string) => void;
}

/** The terminal of the process; prints questions to standard error, which is rarely piped. */
export function processTerminal(): Terminal {
  return {
    isTerminal: Deno.stdin.isTerminal(),
    input: Deno.stdin.readable,
    write: printQuestion,
  };
}

/**
 * Asks for a yes. Any other answer, and the end of the input, is a no.
 *
 * @throws the signal's reason when it aborts before the answer
 */
export async function confirm(
  question: string,
  { isTerminal, input, write }: Terminal,
  signal: AbortSignal,
): Promise<Answer> {
  if (!isTerminal) return "nobody to ask";
  signal.throwIfAborted();
  write(`${question} [y/N] `);
  const reader = input.getReader();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    const decoder = new TextDecoder();
    let line = "";
    while (!line.includes("\n")) {
      const { value, done } = await Promise.race([reader.read(), aborted.promise]);
      if (done) break;
      line += decoder.decode(value, { stream: true });
    }
    return /^\s*y(es)?\s*$/i.test(line.split("\n")[0]!) ? "yes" : "no";
  } finally {
    signal.removeEventListener("abort", abort);
    reader.releaseLock();
  }
}

/**
 * Asks for confirmation on the process's terminal, unless `-yes` is given.
 *
 * @returns the exit code unless the answer is yes
 */
export async function requireYes(
  own: ReadonlyMap<string, FlagValue>,
  question: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (own.get(YES.name) === true) return undefined;
  switch (await confirm(question, processTerminal(), signal)) {
    case "yes":
      return undefined;
    case "no":
      printError("nothing was changed");
      return EXIT_UNCONFIRMED;
    case "nobody to ask":
      printError(
        "nothing was changed: standard input is not a terminal; give -yes to write without asking",
      );
      return EXIT_UNCONFIRMED;
  }
}
