import { nearest } from "../../config/nearest.ts";
import { type AgentLine, quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { quote } from "../flags/flag_syntax.ts";
import { printOwnText } from "../output.ts";

/** A verb of a subcommand: `reserve` of `flanneld lease reserve`. */
export interface Verb {
  /** Its name is the subcommand's and its own. */
  readonly spec: AgentSubcommand;
  /** @returns the exit code */
  readonly run: (line: AgentLine, signal: AbortSignal) => Promise<number>;
}

/**
 * Runs the verb that the first word is, with the environment of the process.
 *
 * @param name of the subcommand
 * @throws {UsageError} for a command line that cannot be used
 */
export async function runVerb(
  name: string,
  verbs: readonly Verb[],
  args: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  const [word = "", ...rest] = args;
  if (/^--?h(elp)?$/.test(word)) {
    printOwnText(helpText(name, verbs));
    return EXIT_OK;
  }
  const { spec, run } = verbNamed(name, verbs, word);
  const line = await readAgentLine(spec, rest);
  if (line === undefined) return EXIT_OK;
  quietLog(line.agent);
  return await run(line, signal);
}

function verbNamed(name: string, verbs: readonly Verb[], word: string): Verb {
  const names = verbs.map(({ spec }) => spec.name.slice(name.length + 1));
  const verb = verbs[names.indexOf(word)];
  if (verb !== undefined) return verb;
  const meant = nearest(word, names);
  throw new UsageError(
    word === ""
      ? `${name} needs a verb: ${names.join(", ")}`
      : `unknown verb ${quote(word)} of ${name}: expected ${names.join(", ")}`,
    {
      hint: (meant === undefined ? "" : `Did you mean ${meant}? `) +
        `Run 'flanneld ${name} -h' for their descriptions.`,
    },
  );
}

function helpText(name: string, verbs: readonly Verb[]): string {
  const lines = verbs.map(({ spec: { name, operands, summary } }) =>
    `  flanneld ${name}${operands === undefined ? "" : ` ${operands.usage}`}\n` +
    `      ${summary.split(/[.,:] /)[0]!.replace(/\.$/, "")}\n`
  );
  return `Usage: flanneld ${name} VERB [flags]\n\n${lines.join("")}\n` +
    "Each uses the store of this host's agent, running or stopped. The agent's flags\n" +
    "and environment variables take precedence; -h lists the others.";
}
