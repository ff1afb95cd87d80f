/**
 * The entry point: reads the command line, runs the command, and returns its exit code. Loads the modules of a command
 * when it runs, so that `-version` loads none of them.
 *
 * @module
 */

import { EXIT_OK } from "./mod/cli/exit_codes.ts";
import { printError, printOwnText } from "./mod/cli/output.ts";
import { type AgentCommand, parseCommandLine } from "./mod/cli/flags/parse.ts";
import { prepareRuntime } from "./mod/cli/prepare_runtime.ts";
import { Shutdown } from "./mod/cli/shutdown.ts";

async function run(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args, Deno.env.toObject());
  switch (line.command) {
    case "help": {
      const { helpText } = await import("./mod/cli/help/help.ts");
      printOwnText(helpText());
      return EXIT_OK;
    }
    case "full help": {
      const { fullHelpText } = await import("./mod/cli/help/help.ts");
      printOwnText(fullHelpText());
      return EXIT_OK;
    }
    case "version": {
      const { VERSION } = await import("./mod/version.ts");
      printOwnText(VERSION);
      return EXIT_OK;
    }
    case "subcommand": {
      const subcommand = await line.subcommand.load();
      const { SUBCOMMANDS } = await import("./mod/cli/commands/subcommands.ts");
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
    "./mod/observe/log/log.ts"
  );
  configureLog({ ...log, limitRepeats: true });
  for (const line of warnings) warning(line);
  const agent = await import("./mod/agent/mod.ts");
  try {
    const { publishedBy } = await import("./mod/cli/published/agent_of_host.ts");
    return await agent.runAgent(options, shutdown.signal, await publishedBy(settings));
  } catch (error) {
    const { reportError } = await import("./mod/cli/report_error.ts");
    const { lines, exitCode } = reportError(error);
    logError(lines.join("\n"));
    return exitCode;
  } finally {
    flushLog();
  }
}

async function report(error: unknown): Promise<number> {
  const { reportError } = await import("./mod/cli/report_error.ts");
  const { lines, exitCode } = reportError(error);
  printError(lines);
  return exitCode;
}

if (import.meta.main) Deno.exit(await run(Deno.args).catch(report));
