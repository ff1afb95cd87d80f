/**
 * The environment of the command line: FLANNEL_OPTIONS of the CentOS package's /etc/sysconfig/flanneld, then
 * `FLANNELD_*` as flannel reads them, then the other variables of that file.
 *
 * That package's start script puts `-etcd-endpoints` and `-etcd-prefix` in front of `$FLANNEL_OPTIONS`, so a flag in
 * FLANNEL_OPTIONS takes precedence over the variables beside it. flanneld.service passes `$FLANNEL_OPTIONS` on the
 * command line, so it takes precedence over `FLANNELD_*` there; without the unit the order is the same.
 *
 * An empty variable counts as unset. A bad value is an error: flannel ignores it, and the host runs with a default
 * that the operator did not choose.
 *
 * @module
 */

import { UsageError } from "../errors.ts";
import {
  environmentName,
  expectation,
  type FlagDefinition,
  type SubcommandFlags,
} from "./flag_definition.ts";
import {
  FlagSyntaxError,
  type FlagValue,
  FlagValueError,
  type GivenFlag,
  parseFlags,
  parseValue,
  quote,
} from "./flag_syntax.ts";
import { flagNamed, FLAGS } from "./flags.ts";
import { nearest } from "../../config/nearest.ts";
import { checkValue, invalidValue, type Origin, type Setting, Settings } from "./settings.ts";
import { splitWords } from "./words.ts";

/** The process environment: variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Settings by the flag's name. */
export type SettingsByName = ReadonlyMap<string, Setting>;

/** Outcome of {@linkcode resolveSettings}. */
export interface ResolvedSettings {
  readonly settings: Settings;
  /** One line each, for the log: variables that look misspelt, flags without effect. */
  readonly warnings: readonly string[];
}

/** Flags that print a text and end; flannel handles them before it reads the environment. */
const IMMEDIATE: ReadonlySet<string> = new Set(["help", "version"]);

/** Variables of the CentOS package for one flag each, the current name before the older one. */
const SYSCONFIG: Readonly<Record<string, readonly string[] | undefined>> = {
  "etcd-endpoints": ["FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD"],
  "etcd-prefix": ["FLANNEL_ETCD_PREFIX", "FLANNEL_ETCD_KEY"],
};
const SYSCONFIG_OPTIONS = "FLANNEL_OPTIONS";

/**
 * Finds the flags that the command line and the environment set: command line, then
 * FLANNEL_OPTIONS, then `FLANNELD_*`, then the other sysconfig variables.
 *
 * @param given flags of the command line, in order
 * @throws {UsageError} naming flag or variable, the value, and what would be right
 */
export function givenSettings(
  given: readonly GivenFlag[],
  environment: Environment,
): SettingsByName {
  const argv = settingsOf(given, { kind: "argv" });
  const options = sysconfigOptions(environment);
  const settings = new Map<string, Setting>();
  for (const flag of FLAGS) {
    const variables = [environmentName(flag.name), ...SYSCONFIG[flag.name] ?? []];
    const setting = argv.get(flag.name) ?? options.get(flag.name) ??
      fromVariable(flag, variables, environment);
    if (setting === undefined) continue;
    for (const value of setting.values) checkValue(flag, setting.origin, value);
    settings.set(flag.name, setting);
  }
  return settings;
}

/**
 * Decides the value of every flag: as {@linkcode givenSettings} finds it, then `behind`, then the default.
 *
 * @param behind settings of flags that were not given
 * @throws {UsageError} as {@linkcode givenSettings} does
 */
export function resolveSettings(
  given: readonly GivenFlag[],
  environment: Environment,
  behind: SettingsByName = new Map(),
): ResolvedSettings {
  const settings = new Map([...behind, ...givenSettings(given, environment)]);
  return {
    settings: new Settings(settings.values()),
    warnings: [...misspelt(environment), ...withoutEffect(settings.values())],
  };
}

function settingsOf(given: readonly GivenFlag[], origin: Origin): Map<string, Setting> {
  const settings = new Map<string, Setting>();
  for (const { name, value } of given) {
    const flag = flagNamed(name)!;
    const before: readonly FlagValue[] = flag.repeatable ? settings.get(name)?.values ?? [] : [];
    settings.set(name, { flag, origin, values: [...before, value] });
  }
  return settings;
}

function fromVariable(
  flag: FlagDefinition,
  variables: readonly string[],
  environment: Environment,
): Setting | undefined {
  if (IMMEDIATE.has(flag.name)) return undefined;
  const variable = variables.find((name) => environment[name]);
  if (variable === undefined) return undefined;
  const text = environment[variable]!;
  const origin: Origin = { kind: "environment", variable };
  try {
    return { flag, origin, values: [parseValue(flag.kind, text)] };
  } catch (cause) {
    if (!(cause instanceof FlagValueError)) throw cause;
    throw invalidValue(flag, origin, text, `${cause.message}: ${expectation(flag)}`);
  }
}

function sysconfigOptions(environment: Environment): Map<string, Setting> {
  const text = environment[SYSCONFIG_OPTIONS];
  if (!text) return new Map();
  const origin: Origin = { kind: "environment", variable: SYSCONFIG_OPTIONS };
  try {
    const { flags, rest } = parseFlags(splitWords(text), (name) => flagNamed(name)?.kind);
    if (rest.length > 0) {
      throw new UsageError(
        `${SYSCONFIG_OPTIONS}: ${quote(rest[0]!)} is not a flag: expected flags alone`,
      );
    }
    return settingsOf(flags.filter(({ name }) => !IMMEDIATE.has(name)), origin);
  } catch (cause) {
    if (!(cause instanceof FlagSyntaxError)) throw cause;
    throw usageErrorOf(cause, `${SYSCONFIG_OPTIONS}: `);
  }
}

/**
 * Adds to Go's message the value that would be right, or the flag that was probably meant.
 *
 * @param prefix of the message
 */
export function usageErrorOf(
  error: FlagSyntaxError,
  prefix = "",
  { own, subcommand, agentFlags }: SubcommandFlags = { own: [], subcommand: "", agentFlags: true },
): UsageError {
  const options = { cause: error };
  const ofSubcommand = own.find(({ name }) => name === error.flag);
  if (ofSubcommand !== undefined) {
    const expected = ofSubcommand.kind === "bool" ? "true or false" : ofSubcommand.help;
    return new UsageError(`${prefix}${error.message}: expected ${expected}`, options);
  }
  const flags: readonly FlagDefinition[] = agentFlags ? FLAGS : [];
  const flag = flags.find(({ name }) => name === error.flag);
  if (flag !== undefined) {
    return new UsageError(`${prefix}${error.message}: ${expectation(flag)}`, options);
  }
  const meant = nearest(error.flag ?? "", [...own, ...flags].map(({ name }) => name));
  const hint = (meant === undefined ? "" : `Did you mean -${meant}? `) +
    `Run 'flanneld ${subcommand && `${subcommand} `}-help' for the list of flags.`;
  return new UsageError(prefix + error.message, { ...options, hint });
}

/** A variable of subnet.env, which is in the environment where a unit reads that file. */
const EXPORTED_NETWORK = "FLANNEL_NETWORK";

/** Warns of variables that no flag has but whose names are similar to a flag's. */
function* misspelt(environment: Environment): Generator<string> {
  const ofFlags = FLAGS.map(({ name }) => environmentName(name));
  const ofPackage = [
    ...Object.values(SYSCONFIG).flatMap((names) => names ?? []),
    SYSCONFIG_OPTIONS,
  ];
  for (const variable of Object.keys(environment).sort()) {
    if (!environment[variable] || ofFlags.includes(variable) || ofPackage.includes(variable)) {
      continue;
    }
    // Compares without the prefixes: with them, all names are similar.
    if (variable.startsWith("FLANNELD_")) {
      const meant = nearest(variable.slice(9), ofFlags.map((name) => name.slice(9)));
      const help = meant === undefined ? "" : `; did you mean FLANNELD_${meant}?`;
      yield `environment variable ${variable} belongs to no flag and is ignored${help}`;
    } else if (variable.startsWith("FLANNEL_") && variable !== EXPORTED_NETWORK) {
      const suffix = variable.slice(8);
      const meant = ofFlags.find((name) => name === `FLANNELD_${suffix}`) ??
        ofPackage.find((name) =>
          name.slice(8) === nearest(suffix, ofPackage.map((n) => n.slice(8)))
        );
      if (meant !== undefined) {
        yield `environment variable ${variable} is ignored; did you mean ${meant}?`;
      }
    }
  }
}

function* withoutEffect(settings: Iterable<Setting>): Generator<string> {
  for (const { flag, values } of settings) {
    if (flag.noEffect === undefined || values.at(-1) === flag.default) continue;
    yield `flag -${flag.name} has no effect: ${flag.noEffect}`;
  }
}
