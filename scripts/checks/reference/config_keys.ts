/**
 * Checks the tables of docs/reference/config.md against the code that reads the keys.
 *
 * @module
 */
import { equal } from "@std/assert";
import { awsVpcOptions } from "../../../backends/aws_vpc/options.ts";
import { ipipOptions } from "../../../backends/ipip/ipip.ts";
import { repairPeriodOf } from "../../../backends/provider/backend.ts";
import { BACKEND_TYPES } from "../../../backends/registry.ts";
import { udpOptions } from "../../../backends/udp/options.ts";
import { vxlanOptions } from "../../../backends/vxlan/options.ts";
import { ConfigError, decodeNetworkConfig, GoObject } from "../../../mod/config/mod.ts";

const INTERFACE_MTU = 1500;

/** Readers of the options, by backend; a backend without keys has none. */
const READERS: Readonly<Record<string, (options: GoObject) => unknown>> = {
  "aws-vpc": (options) => [awsVpcOptions(options), repairPeriodOf(options)],
  gce: repairPeriodOf,
  ipip: (options) => ipipOptions(options, INTERFACE_MTU),
  udp: (options) => udpOptions(options, INTERFACE_MTU),
  vxlan: (options) => vxlanOptions(options, INTERFACE_MTU),
};

/** A row: `` | `VNI` | int | `1` | 0 to 16777215 | `"VNI": 7` | ... | ``. */
const ROW = /^\| `(\w+)` +\| (\w+) +\| (.*?) +\| (.*?) +\| (?:`(.*?)`)? *\| .* \|$/gm;

/** Returns one line for each key whose row is missing or wrong, and for each row without a key. */
export async function configKeyProblems(document: string): Promise<string[]> {
  const sections = new Map(
    document.split(/^## /m).slice(1).map((part) => [/^[^\n]*/.exec(part)![0], part]),
  );
  const problems: string[] = [];
  for (const type of ["network", ...BACKEND_TYPES]) {
    const read = (members: string) =>
      type === "network" ? readNetwork(members) : readBackend(type, members);
    const heading = type === "network" ? "Network" : `Backend ${type}`;
    const section = sections.get(heading);
    const known = (await read("")).keys;
    if (section === undefined) {
      if (known.length > 0) problems.push(`there is no section "${heading}"`);
      continue;
    }
    const rows = [...section.matchAll(ROW)];
    const report = (text: string) => problems.push(`section "${heading}": ${text}`);
    for (const key of known) {
      if (!rows.some(([, name]) => name === key)) report(`key ${key} is missing`);
    }
    for (const [, key, kind, fallback, range, example] of rows) {
      if (!known.includes(key!)) report(`no code reads key ${key}`);
      else {for (const text of await rowProblems(read, key!, kind!, fallback!, range!, example)) {
          report(text);
        }}
    }
  }
  return problems;
}

/** Returns the keys of the network's config and of every backend that the code reads. */
export async function configKeys(): Promise<Set<string>> {
  const reads = [readNetwork(""), ...BACKEND_TYPES.map((type) => readBackend(type, ""))];
  return new Set(["Type", ...(await Promise.all(reads)).flatMap(({ keys }) => keys)]);
}

async function rowProblems(
  read: (members: string) => Promise<Decoded>,
  key: string,
  kind: string,
  fallback: string,
  range: string,
  example: string | undefined,
): Promise<string[]> {
  const problems: string[] = [];
  const accepts = async (member: string) => (await read(member)).refusal === undefined;
  if (example !== undefined) {
    const { refusal } = await read(example);
    if (refusal !== undefined) problems.push(`the example ${example} is refused: ${refusal}`);
    if (!example.startsWith(`"${key}": `)) problems.push(`the example of ${key} is of another key`);
  }
  const limits = /^(\d+) to (\d+)/.exec(range)?.slice(1).map(Number);
  if (limits !== undefined) {
    const [least, most] = limits as [number, number];
    for (const value of [least, most]) {
      if (!await accepts(`"${key}": ${value}`)) problems.push(`${key} of ${value} is refused`);
    }
    if (await accepts(`"${key}": ${most + 1}`)) problems.push(`${key} of ${most + 1} is accepted`);
  }
  const value = /^`(.*)`$/.exec(fallback)?.[1];
  if (value !== undefined) {
    const given = await read(`"${key}": ${value}`);
    if (!equal(given.value, (await read("")).value)) {
      problems.push(`${value} is not the default of ${key}`);
    }
  }
  const isBoolean = await accepts(`"${key}": true`) || await accepts(`"${key}": false`);
  if (isBoolean !== (kind === "boolean")) {
    problems.push(`${key} is ${isBoolean ? "a" : "no"} boolean`);
  }
  return problems;
}

/** Outcome of reading a config. */
interface Decoded {
  readonly keys: readonly string[];
  readonly value?: unknown;
  readonly refusal?: string;
}

async function readNetwork(members: string): Promise<Decoded> {
  const network = members.startsWith('"Network"') ? "" : '"Network": "10.20.0.0/16"';
  const text = `{${[network, members].filter((part) => part !== "").join(", ")}}`;
  try {
    const { text: _, members, backend, ...value } = await decodeNetworkConfig(text);
    return { keys: members.askedKeys(), value: [value, backend.type] };
  } catch (error) {
    if (error instanceof ConfigError) return { keys: [], refusal: error.message };
    throw error;
  }
}

function readBackend(type: string, members: string): Promise<Decoded> {
  const options = GoObject.parse(`{${members}}`);
  try {
    const value = READERS[type]?.(options);
    return Promise.resolve({ keys: options.askedKeys(), value });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return Promise.resolve({ keys: [], refusal: error.message });
  }
}
