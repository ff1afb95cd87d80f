/**
 * The entry point: reads the command line, runs the command, and returns its exit code. Loads the modules of a command
 * when it runs, so that `-version` loads none of them.
 *
 * @module
 */

import { EXIT_OK } from "./exit_codes.ts";
import { printError, printOwnText } from "./output.ts";
import { type AgentCommand, parseCommandLine } from "./flags/parse.ts";
import { prepareRuntime } from "./prepare_runtime.ts";
import { Shutdown } from "./shutdown.ts";

/**
 * Runs the program, and reports an error that ends it.
 *
 * @param args the words after the program's name
 * @returns the exit code
 */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  return await run(args).catch(report);
}

async function run(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args, Deno.env.toObject());
  switch (line.command) {
    case "help": {
      const { helpText } = await import("./help/help.ts");
      printOwnText(helpText());
      return EXIT_OK;
    }
    case "full help": {
      const { fullHelpText } = await import("./help/help.ts");
      printOwnText(fullHelpText());
      return EXIT_OK;
    }
    case "version": {
      const { VERSION } = await import("../version.ts");
      printOwnText(VERSION);
      return EXIT_OK;
    }
    case "subcommand": {
      const subcommand = await line.subcommand.load();
      const { SUBCOMMANDS } = await import("./commands/subcommands.ts");
      using shutdown = new Shutdown();
      await prepareRuntime();
      return await subcommand.run(line.args, shutdown.signal, SUBCOMMANDS);
    }
    case "agent":
      return await runAgent(line.agent);
  }
}

async function runAgent({ options, settings, log, warnings }: AgentCommand): Promise<number> {
  using shutdown = new Shutdown();
  await prepareRuntime();
  const { configureLog, error: logError, flushLog, warning } = await import(
    "../observe/log/log.ts"
  );
  configureLog({ ...log, limitRepeats: true });
  for (const line of warnings) warning(line);
  const agent = await import("../agent/mod.ts");
  try {
    const { publishedBy } = await import("./published/agent_of_host.ts");
    return await agent.runAgent(options, shutdown.signal, await publishedBy(settings));
  } catch (error) {
    const { reportError } = await import("./report_error.ts");
    const { lines, exitCode } = reportError(error);
    logError(lines.join("\n"));
    return exitCode;
  } finally {
    flushLog();
  }
}

async function report(error: unknown): Promise<number> {
  const { reportError } = await import("./report_error.ts");
  const { lines, exitCode } = reportError(error);
  printError(lines);
  return exitCode;
}
