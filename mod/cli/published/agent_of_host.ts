import {
  askPublishedOptions,
  OPTIONS_DIRECTORY,
  type PublishedOptions,
  publishedOptions,
  readPublishedOptions,
} from "../../agent/host/published_options.ts";
import { parseDotenv } from "../../export/dotenv.ts";
import { ExportError } from "../../export/errors.ts";
import { defaultSocketPath } from "../commands/status_socket.ts";
import { UsageError } from "../errors.ts";
import { type AgentCommand, agentCommand } from "../flags/agent_flags.ts";
import { type Environment, givenSettings, type SettingsByName } from "../flags/environment.ts";
import type { GivenFlag } from "../flags/flag_syntax.ts";
import { flagNamed } from "../flags/flags.ts";
import {
  type AgentChoice,
  chooseAgent,
  CREDENTIALS,
  differences,
  effectiveFlags,
  missingSecret,
  settingsBehind,
  settingsOfAgent,
} from "./published_flags.ts";
import { Settings } from "../flags/settings.ts";

/** File of variables that systemd starts the agent with, as in the CentOS package. */
export const SYSCONFIG = "/etc/sysconfig/flanneld";

/** Options of {@linkcode agentOfHost}. */
export interface AgentOfHostOptions {
  /** A sysconfig file to take in place of the agent's options. */
  readonly sysconfig?: string | undefined;
  /** Take the options of an agent that has ended also where the next one will start with others. @default false */
  readonly isAboutLastRun?: boolean;
  readonly paths?: HostPaths;
}

/** Paths of the options of a host's agents. */
export interface HostPaths {
  /** @default SYSCONFIG */
  readonly sysconfig?: string;
  /** @default OPTIONS_DIRECTORY */
  readonly options?: string;
  /** Socket of the agent with a subnet file. @default {@linkcode defaultSocketPath} */
  readonly socketOf?: (subnetFile: string) => string;
}

/**
 * Resolves the options of a command that works for this host's agent: the command line, then the environment, then
 * the options that the agent publishes. The sysconfig file replaces the latter where no agent has run, and where the
 * agent that was started from the file has ended, because the next start reads the file.
 *
 * @throws {UsageError} when a value cannot be used
 * @throws {ExportError} when the sysconfig file that was given cannot be read
 */
export async function agentOfHost(
  flags: readonly GivenFlag[],
  environment: Environment,
  { sysconfig, isAboutLastRun = false, paths = {} }: AgentOfHostOptions = {},
): Promise<AgentCommand> {
  if (sysconfig !== undefined) {
    return agentCommand(flags, { ...await readVariables(sysconfig), ...environment });
  }
  const given = givenSettings(flags, environment);
  const [file, { agent, note }] = await Promise.all([
    readSysconfig(paths.sysconfig ?? SYSCONFIG),
    findAgent(given, paths),
  ]);
  const isNextStart = agent?.published.isFromSysconfig && !agent.isRunning && !isAboutLastRun &&
    file.variables !== undefined;
  if (agent === undefined || isNextStart) {
    const command = agentCommand(flags, { ...file.variables, ...environment });
    return withWarnings(command, [file.problem, note]);
  }
  const { published } = agent;
  const inFile = settingsOfFile(file.variables ?? {});
  const behind = new Map(settingsBehind(settingsOfAgent(published), given));
  for (const name of CREDENTIALS) {
    const setting = inFile.get(name);
    const isInFile = published.isFromSysconfig || published.withheld.includes(name);
    if (setting !== undefined && isInFile && !given.has(name)) behind.set(name, setting);
  }
  const command = agentCommand(flags, environment, behind);
  const other = differences(published, given);
  const next = settingsOfAgent(effectiveFlags(new Settings(inFile.values())));
  for (const name of [...CREDENTIALS, ...given.keys()]) next.delete(name);
  const isFileCurrent = published.isFromSysconfig && agent.isRunning &&
    file.variables !== undefined;
  const changed = isFileCurrent ? differences(published, next) : undefined;
  return withWarnings(command, [
    note,
    other && `using other options than the agent's: ${other}`,
    changed && `${file.path} has changed since the agent started: ${changed}; ` +
      "using the agent's options until it is restarted",
    missingSecret(
      published,
      command.settings,
      file.problem === undefined ? "" : ` (${file.problem})`,
    ),
  ]);
}

/** Returns the options that an agent with these settings publishes. */
export async function publishedBy(settings: Settings, path = SYSCONFIG): Promise<PublishedOptions> {
  const effective = effectiveFlags(settings);
  const { variables } = await readSysconfig(path).catch(() => ({ variables: undefined }));
  const inFile = effectiveFlags(new Settings(settingsOfFile(variables ?? {}).values()));
  const isFromSysconfig = variables !== undefined &&
    JSON.stringify(inFile) === JSON.stringify(effective);
  return publishedOptions({ ...effective, isFromSysconfig });
}

/**
 * Finds the agent of this host, running or stopped, that a command line is about. Asks the one behind the status
 * socket where none has left a file.
 */
export async function findAgent(
  given: SettingsByName,
  { options = OPTIONS_DIRECTORY, socketOf = defaultSocketPath }: HostPaths,
): Promise<AgentChoice> {
  const found = chooseAgent(await readPublishedOptions(options), given);
  if (found.agent !== undefined || found.note !== undefined) return found;
  const flag = given.get("subnet-file");
  const path = String(flag?.values.at(-1) ?? flagNamed("subnet-file")!.default);
  const asked = await askPublishedOptions(socketOf(path));
  return asked === undefined ? {} : chooseAgent([asked], given);
}

/** The default sysconfig file. */
interface Sysconfig {
  readonly path: string;
  /** `undefined` for a file that is missing or cannot be read. */
  readonly variables: Environment | undefined;
  /** The reason for which an existing file cannot be read: a package lets only root read it. */
  readonly problem?: string;
}

async function readSysconfig(path: string): Promise<Sysconfig> {
  try {
    return { path, variables: await readVariables(path) };
  } catch (error) {
    const { cause } = error as ExportError;
    if (cause instanceof Deno.errors.NotFound) return { path, variables: undefined };
    if (!(cause instanceof Deno.errors.PermissionDenied)) throw error;
    const problem = `${(error as ExportError).message}; using none of its settings (run as root)`;
    return { path, variables: undefined, problem };
  }
}

/** @throws {ExportError} when the file cannot be read */
async function readVariables(path: string): Promise<Environment> {
  try {
    const variables = parseDotenv(await Deno.readTextFile(path));
    return Object.fromEntries([...variables].filter(([name]) => name.startsWith("FLANNEL")));
  } catch (cause) {
    throw ExportError.from(`cannot read ${path}`, cause);
  }
}

/** The settings of a file's variables; none for a file with an invalid value, which the agent reports. */
function settingsOfFile(variables: Environment): SettingsByName {
  try {
    return givenSettings([], variables);
  } catch (error) {
    if (error instanceof UsageError) return new Map();
    throw error;
  }
}

function withWarnings(
  command: AgentCommand,
  lines: readonly (string | undefined)[],
): AgentCommand {
  const more = lines.filter((line) => line !== undefined && line !== "");
  return { ...command, warnings: [...command.warnings, ...more as string[]] };
}
