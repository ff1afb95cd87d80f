/**
 * `flanneld config get|set|validate|delete`: shows and changes the network config, after the operator has
 * confirmed the consequences.
 *
 * @module
 */

import { checkConfig, type CheckedConfig } from "../../../../backends/check_config.ts";
import { ConfigError, HIDDEN, hideSecrets, isPrivateRange } from "../../../config/mod.ts";
import { formatIPv4, type Prefix } from "../../../ip/mod.ts";
import type { ConfigText } from "../../../store/mod.ts";
import type { AgentLine } from "../../flags/agent_line.ts";
import type { AgentSubcommand, OwnFlag } from "../agent_subcommand.ts";
import {
  configDiff,
  describeConsequences,
  describeDeletion,
  listHosts,
  roomOf,
} from "./changes.ts";
import { requireYes, YES } from "./confirm.ts";
import { misspeltKey } from "./hint.ts";
import { findConfig, type FoundConfig, inTime } from "./store.ts";
import { readGivenConfig } from "./text.ts";
import { EXIT_OK, type ExitCodes } from "../../exit_codes.ts";
import { oneNetwork } from "../one_network.ts";
import {
  JSON_HELP,
  print,
  printJsonText,
  printNote,
  printReport,
  type Say,
  sayer,
} from "../../output.ts";
import type { RunSubcommand } from "../subcommand.ts";
import { runVerb, type Verb } from "../verbs.ts";
import { counted } from "../../../text/mod.ts";

const JSON_FLAG: OwnFlag = { name: "json", kind: "bool", help: JSON_HELP };
const CONFIG_OPERAND = "JSON|FILE|-";
const WRITING_CODES: ExitCodes = {
  0: "done, or there was nothing to do",
  1: "it failed, or another writer was faster",
  3: "not confirmed",
};

const VERBS: readonly Verb[] = [
  {
    spec: {
      name: "config get",
      summary: "Print the stored network config, and its place on standard error. " +
        `It replaces secrets with "${HIDDEN}".`,
      flags: [
        { name: "show-secrets", kind: "bool", help: "print the secrets as well" },
        JSON_FLAG,
      ],
      exitCodes: { 0: "printed", 1: "there is no config, or it cannot be read" },
    },
    run: get,
  },
  {
    spec: {
      name: "config set",
      summary:
        "Write the network config to the store that the agents read. It checks the config as an " +
        "agent does, shows what changes for the hosts that run, and asks. It does not overwrite a " +
        "config that another writer has written meanwhile.",
      flags: [YES, JSON_FLAG],
      operands: {
        usage: CONFIG_OPERAND,
        help: "The config is JSON that begins with {, a file, or - for standard input.",
        count: [1, 1],
      },
      exitCodes: WRITING_CODES,
    },
    run: set,
  },
  {
    spec: {
      name: "config validate",
      summary:
        "Check a network config as an agent does, and show the result. It checks the given config " +
        "without a store; without an operand, the config in the store.",
      flags: [JSON_FLAG],
      operands: {
        usage: `[${CONFIG_OPERAND}]`,
        help: "The config is JSON that begins with {, a file, or - for standard input.",
        count: [0, 1],
      },
      exitCodes: { 0: "agents can use it", 1: "they cannot, or there is no config" },
    },
    run: validate,
  },
  {
    spec: {
      name: "config delete",
      summary: "Delete the network config from the store. It shows the hosts that run, and asks. " +
        "Leases stay and packets flow, but no host can start without a config.",
      flags: [YES, JSON_FLAG],
      exitCodes: WRITING_CODES,
    },
    run: remove,
  },
];

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "config",
  summary: "Show the network config in the store, and change it.",
  flags: [],
  exitCodes: {},
  verbs: VERBS.map(({ spec }) => spec),
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for a command line that cannot be used
 * @throws {ConfigError} for a config that no agent could use
 * @throws {StoreError} when the store fails
 */
export const run: RunSubcommand = (args, signal) => runVerb("config", VERBS, args, signal);

async function get({ agent, own }: AgentLine, signal: AbortSignal): Promise<number> {
  await using found = await findConfig(oneNetwork(agent.options).store, signal, {
    readOnly: true,
  });
  const stored = textOf(found);
  const text = own.get("show-secrets") === true ? stored : hideSecrets(stored);
  if (own.get("json") === true) {
    printReport({ store: found.store.name, config: valueOf(text, found) });
  } else {
    printNote(found.note);
    printJsonText(text);
  }
  return EXIT_OK;
}

/** Returns the config as a value. @throws {ConfigError} when it is not JSON */
function valueOf(text: string, { store }: FoundConfig): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(`the config in ${store.name} is not JSON`, { cause });
  }
}

async function validate({ agent, operands, own }: AgentLine, signal: AbortSignal): Promise<number> {
  const [word] = operands;
  let text: string;
  let from: string;
  if (word !== undefined) {
    ({ text, from } = await readGivenConfig(word));
  } else {
    await using found = await findConfig(oneNetwork(agent.options).store, signal, {
      readOnly: true,
    });
    text = textOf(found);
    from = `the config in ${found.store.name}`;
  }
  const checked = await check(text, from, agent.options.allowedNetworks);
  if (own.get("json") === true) printReport(summarize(checked));
  else print(describe(checked));
  return EXIT_OK;
}

async function set(line: AgentLine, signal: AbortSignal): Promise<number> {
  const { text, from } = await readGivenConfig(line.operands[0]!);
  const after = await check(text, from, line.agent.options.allowedNetworks);
  await using found = await findConfig(oneNetwork(line.agent.options).store, signal, {
    forWriting: true,
  });
  const { store, snapshot } = found;
  const old = oldText(snapshot.config);
  const isJson = line.own.get("json") === true;
  const say = sayer(isJson);
  const report = (changed: boolean) => {
    if (isJson) printReport({ store: store.name, changed, ...summarize(after) });
  };
  say(found.note);
  if (old === text) {
    say("The config is there already, byte for byte.");
    report(false);
    return EXIT_OK;
  }
  say([...configDiff(old, text), ...describe(after)]);
  say(describeConsequences(await usable(old, say), after, snapshot));
  const code = await requireYes(line.own, `Write it to ${store.name}?`, signal);
  if (code !== undefined) return code;
  await inTime(signal, (call) => store.putConfig(text, old, call));
  say(`Written to ${store.name}.`);
  report(true);
  return EXIT_OK;
}

async function remove(line: AgentLine, signal: AbortSignal): Promise<number> {
  await using found = await findConfig(oneNetwork(line.agent.options).store, signal);
  const { store, snapshot: { leases, agents } } = found;
  const text = textOf(found);
  const isJson = line.own.get("json") === true;
  const say = sayer(isJson);
  say(found.note);
  say(configDiff(text, "{}"));
  say(
    leases.length === 0
      ? "No host holds a lease."
      : describeDeletion(leases.length, line.agent.options.networks !== undefined),
  );
  say(listHosts(leases, agents));
  const code = await requireYes(line.own, `Delete the config in ${store.name}?`, signal);
  if (code !== undefined) return code;
  await inTime(signal, (call) => store.removeConfig(text, call));
  say(`Deleted from ${store.name}.`);
  if (isJson) printReport({ store: store.name, changed: true });
  return EXIT_OK;
}

function textOf({ store, snapshot: { config } }: FoundConfig): string {
  if ("text" in config) return config.text;
  throw new ConfigError(`there is no network config: ${config.missing}, in ${store.name}`);
}

function oldText(config: ConfigText): string | undefined {
  return "text" in config ? config.text : undefined;
}

/** Checks a config, and prints warnings on standard error. */
async function check(
  text: string,
  from: string,
  allowed: readonly Prefix[],
): Promise<CheckedConfig> {
  if (text.includes(HIDDEN)) {
    throw new ConfigError(
      `${from} has "${HIDDEN}", which 'flanneld config get' prints in place of a secret: write the ` +
        "secret, or start from the output of 'flanneld config get -show-secrets'",
    );
  }
  let checked: CheckedConfig;
  try {
    checked = await checkConfig(text);
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    const meant = misspeltKey(text);
    throw new ConfigError(
      `${from} cannot be used: ${cause.message}${meant === undefined ? "" : `; ${meant}`}`,
      { cause },
    );
  }
  const { network } = checked.config;
  const warnings = [...checked.warnings];
  if (!isPrivateRange(network) && !allowed.some((range) => range.containsPrefix(network))) {
    warnings.push(
      `Network ${network} is no private range (RFC 1918, RFC 6598): hosts accept it only with ` +
        `-allowed-networks=${network}`,
    );
  }
  printNote(warnings.map((warning) => `warning: ${warning}`));
  return checked;
}

async function usable(text: string | undefined, say: Say): Promise<CheckedConfig | undefined> {
  if (text === undefined) return undefined;
  try {
    return await checkConfig(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    say(`No agent can use the stored config: ${error.message}`);
    return undefined;
  }
}

/** The result of a check, as `-json` prints it. */
function summarize(checked: CheckedConfig): Record<string, unknown> {
  const { network, subnetLen, subnetMin, subnetMax, backend } = checked.config;
  return {
    network: network.toString(),
    subnetLen,
    subnetMin: formatIPv4(subnetMin),
    subnetMax: formatIPv4(subnetMax),
    subnets: roomOf(checked),
    backend: backend.type,
    mtu: checked.mtu ?? null,
    warnings: checked.warnings,
  };
}

function describe(checked: CheckedConfig): string[] {
  const { network, subnetLen, subnetMin, subnetMax, backend } = checked.config;
  const mtu = checked.mtu === undefined
    ? ""
    : `; MTU for containers ${checked.mtu} where the interface has 1500`;
  return [
    `Network ${network}: ${counted(roomOf(checked), "subnet")} of /${subnetLen}, from ` +
    `${formatIPv4(subnetMin)} to ${formatIPv4(subnetMax)}`,
    `Backend ${backend.type}${mtu}`,
  ];
}
