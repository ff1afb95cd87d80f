/**
 * The flags that an agent publishes for other commands, and the choice among several agents of a host.
 *
 * @module
 */

import type { EffectiveFlags, PublishedAgent } from "../../agent/host/published_options.ts";
import type { SettingsByName } from "../flags/environment.ts";
import { environmentName, type FlagDefinition } from "../flags/flag_definition.ts";
import type { FlagValue } from "../flags/flag_syntax.ts";
import { type FlagName, flagNamed, FLAGS } from "../flags/flags.ts";
import { checkValue, type Origin, type Setting, type Settings } from "../flags/settings.ts";

/** Flags of the process that is run, not of the agent's work. */
const OF_THE_PROCESS: ReadonlySet<string> = new Set<FlagName>([
  ...["v", "log-format", "help", "version"] as const,
]);

/** Flags of an agent that a given flag displaces: they choose another store, or exclude it. */
const EMBEDDED = ["network", "subnet-len", "backend"] as const;
const DISPLACED: { readonly [name in FlagName]?: readonly FlagName[] } = {
  "store": ["remote", ...EMBEDDED],
  "remote": ["store", "listen", ...EMBEDDED],
  "etcd-endpoints": ["store", "remote", "listen", ...EMBEDDED],
  "listen": ["remote"],
  "udp-strict-source": ["udp-accept-any"],
  "udp-accept-any": ["udp-strict-source"],
};

/** Flags of credentials, which change while an agent runs: the file that it was started from has the present ones. */
export const CREDENTIALS: readonly FlagName[] = [
  ...["etcd-username", "etcd-password", "etcd-cafile", "etcd-certfile", "etcd-keyfile"] as const,
  ...["remote-cafile", "remote-certfile", "remote-keyfile", "remote-token-file"] as const,
];

const ORIGIN: Origin = { kind: "agent" };

/** Returns the flags that an agent publishes, with the defaults of flags that were not given. */
export function effectiveFlags(settings: Settings): EffectiveFlags {
  const flags: Record<string, FlagValue | readonly FlagValue[] | null> = {};
  const withheld: string[] = [];
  for (const flag of FLAGS as readonly FlagDefinition[]) {
    if (!isPublished(flag)) continue;
    const given = settings.given(flag.name);
    if (isSecret(flag, given)) {
      if (given?.values.some((value) => value !== "")) withheld.push(flag.name);
    } else if (flag.repeatable) flags[flag.name] = given?.values ?? [];
    // Without the flag the agent decides; false is a decision.
    else flags[flag.name] = given?.values.at(-1) ?? (isUndecided(flag) ? null : flag.default);
  }
  return { flags, withheld };
}

function isPublished({ name, missing, noEffect }: FlagDefinition): boolean {
  return missing === undefined && noEffect === undefined && !OF_THE_PROCESS.has(name);
}

/** `-backend` may be a JSON object with a key in it. Commands need it only to write the first config. */
function isSecret(flag: FlagDefinition, given: Setting | undefined): boolean {
  return flag.secret === true ||
    (flag.name === "backend" && String(given?.values.at(-1) ?? "").includes("{"));
}

function isUndecided({ name }: FlagDefinition): boolean {
  return name === "udp-strict-source" || name === "vxlan-strict-source";
}

/** Returns the settings of an agent that a command takes; leaves out flags that this version does not know. */
export function settingsOfAgent({ flags }: EffectiveFlags): Map<string, Setting> {
  const settings = new Map<string, Setting>();
  for (const [name, value] of Object.entries(flags)) {
    const flag = flagNamed(name);
    if (flag === undefined || !isPublished(flag)) continue;
    const values: readonly FlagValue[] = value === null ? [] : [value].flat();
    if (values.some((one) => typeof one !== typeof flag.default)) continue;
    for (const one of values) checkValue(flag, ORIGIN, one);
    settings.set(name, { flag, origin: ORIGIN, values });
  }
  return settings;
}

/** Returns an agent's settings without those that the given settings replace or displace. */
export function settingsBehind(agent: SettingsByName, given: SettingsByName): SettingsByName {
  const displaced = new Set([...given.keys()].flatMap((name) => DISPLACED[name as FlagName] ?? []));
  return new Map(
    [...agent].filter(([name]) => !given.has(name) && !displaced.has(name as FlagName)),
  );
}

/** Outcome of {@linkcode chooseAgent}. */
export interface AgentChoice {
  readonly agent?: PublishedAgent;
  /** One line that names the other agents, where the command line does not choose one. */
  readonly note?: string;
}

/**
 * Chooses the agent of this host that a command line is about: the one that `-subnet-file` or `-subnet-dir`
 * names, else the one with the default subnet file, else the only one, or the only one that runs.
 */
export function chooseAgent(
  agents: readonly PublishedAgent[],
  given: SettingsByName,
): AgentChoice {
  for (const name of ["subnet-file", "subnet-dir"] as const) {
    if (!given.has(name)) continue;
    const path = withoutSlash(String(given.get(name)!.values.at(-1)));
    const agent = agents.find((one) => placeOf(one).flag === name && placeOf(one).path === path);
    return agent === undefined ? {} : { agent };
  }
  const ofNetworks = agents.filter((one) => placeOf(one).flag === "subnet-dir");
  const isAboutNetworks = ["networks", "watch-networks"].some((name) => given.has(name));
  const candidates = isAboutNetworks && ofNetworks.length > 0 ? ofNetworks : agents;
  const [first, ...others] = candidates;
  if (first === undefined) return {};
  if (others.length === 0) return { agent: first };
  const running = candidates.filter(({ isRunning }) => isRunning);
  const agent =
    candidates.find((one) => placeOf(one).path === flagNamed(placeOf(one).flag)?.default) ??
      (running.length === 1 ? running[0] : undefined);
  const all = candidates.filter((one) => one !== agent).map((one) => placeOf(one).text).join(", ");
  return agent === undefined
    ? { note: `${candidates.length} agents on this host and none is chosen: give one of ${all}` }
    : {
      agent,
      note: `${candidates.length} agents on this host: using the options of the one with ` +
        `${placeOf(agent).text}; for another give ${all}`,
    };
}

/** Returns the flag and path that identify an agent on its host. */
export function placeOf({ published: { flags } }: PublishedAgent) {
  const isOne = flags["networks"] === "" && flags["watch-networks"] === false;
  const flag = isOne ? "subnet-file" : "subnet-dir";
  const path = withoutSlash(String(flags[flag]));
  return { flag, path, text: `-${flag}=${path}` } as const;
}

function withoutSlash(path: string): string {
  return path.replace(/\/+$/, "");
}

/**
 * Names the flags that were given with other values than an agent has.
 *
 * @returns `-ip-masq=false (the agent: -ip-masq=true), ...`; `undefined` where none differs
 */
export function differences(agent: EffectiveFlags, given: SettingsByName): string | undefined {
  const known = settingsOfAgent(agent);
  const found = [...given.values()].flatMap(({ flag, values }) => {
    if (!isPublished(flag) || agent.withheld.includes(flag.name) || flag.secret) return [];
    const of = known.get(flag.name)?.values;
    if (of === undefined || isSame(flag, values, of)) return [];
    return [`${words(flag, values)} (the agent: ${words(flag, of)})`];
  });
  return found.length === 0 ? undefined : found.join(", ");
}

function isSame(
  { name, repeatable }: FlagDefinition,
  given: readonly FlagValue[],
  agent: readonly FlagValue[],
): boolean {
  // One of the agent's networks is a choice, not another option.
  if (name === "networks") {
    const names = (text: FlagValue | undefined) =>
      String(text ?? "").split(",").map((one) => one.trim()).filter((one) => one !== "");
    const all = names(agent.at(-1));
    return all.length === 0 || names(given.at(-1)).every((one) => all.includes(one));
  }
  const [one, other] = repeatable ? [given, agent] : [given.slice(-1), agent.slice(-1)];
  return one.length === other.length && one.every((value, i) => value === other[i]);
}

function words({ name }: FlagDefinition, values: readonly FlagValue[]): string {
  return values.length === 0 ? "not given" : values.map((value) => `-${name}=${value}`).join(" ");
}

/**
 * Returns a line for a secret that the agent has and the command line lacks; `undefined` where none is needed.
 *
 * @param where the end of the line, with another source
 */
export function missingSecret(
  agent: EffectiveFlags,
  settings: Settings,
  where: string,
): string | undefined {
  const name = "etcd-password";
  if (!agent.withheld.includes(name) || settings.optional(name) !== undefined) return undefined;
  const user = settings.optional("etcd-username");
  const isEtcd = settings.text("store") === "etcd" && settings.optional("remote") === undefined;
  if (user === undefined || !isEtcd) return undefined;
  return `the agent has a password for etcd's user "${user}", which it does not publish: set ` +
    `${environmentName(name)} or give -${name}${where}`;
}
