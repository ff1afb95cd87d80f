import { VERSION } from "../../version.ts";
import {
  environmentName,
  FLAG_GROUPS,
  type FlagDefinition,
  type FlagGroup,
} from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

/** Columns of the help text. */
const WIDTH = 80;
const INDENT = "      ";

/** The text of `flanneld -help`, for one screen: subcommands, and the names of the flags. */
export function helpText(): string {
  const groups = FLAG_GROUPS.filter((group) => group !== "not there yet");
  const column = Math.max(...groups.map((group) => group.length));
  const names = groups.map((group) => {
    const shown = flagsOf(group).filter(({ noEffect }) => noEffect === undefined);
    const indent = " ".repeat(column + 4);
    const list = wrap(shown.map(({ name }) => `-${name}`).join(" "), indent);
    return `  ${heading(group).padEnd(column)}  ${list.slice(indent.length)}`;
  });
  return `${intro()}
First steps, as root; ETCD is the address of an etcd that all hosts reach:
  # once: write the network's config
  flanneld config set -etcd-endpoints=http://ETCD:2379 -etcd-api=v3 \\
    -etcd-prefix=/flannel/network '{"Network": "10.20.0.0/16"}'
  # on every host: run the agent
  flanneld -etcd-endpoints=http://ETCD:2379 -etcd-prefix=/flannel/network
  # when something is wrong
  flanneld doctor

Subcommands:
${subcommands()}
Flags, each also as FLANNELD_ and its name in upper case, with _ for -:
${names.join("")}
flanneld -help=all describes every flag, and flanneld man is the manual page.
`;
}

/** The text of `flanneld -help=all`: the flags by group, with defaults and environment variables. */
export function fullHelpText(): string {
  const groups = FLAG_GROUPS.map((group) => `${heading(group)}:\n${describeGroup(group)}`);
  return `${intro()}
First steps, as root; ETCD is the address of an etcd that all hosts reach:
  1. Once, write the network's config:
       flanneld config set -etcd-endpoints=http://ETCD:2379 -etcd-api=v3 \\
         -etcd-prefix=/flannel/network '{"Network": "10.20.0.0/16"}'
     (-etcd-api=v2 where flannel 0.7.1 takes part, or anything up to 0.17)
  2. On every host, run the agent with the same endpoints and prefix:
       flanneld -etcd-endpoints=http://ETCD:2379 -etcd-prefix=/flannel/network
     -iface=eth1 where the hosts reach each other by another interface than
     that of the default route, as on Vagrant's machines
  3. When something is wrong: flanneld doctor

Subcommands:
${subcommands()}
Flags take one dash or two, and a value after = or as the next word. A boolean
is set by its name alone, and unset by -name=false. A flag that is not given is
taken from the environment variable in brackets.

Subcommands use the options of this host's agent, running or stopped, so they
need no flags; a flag or variable that is given takes precedence.

${groups.join("\n")}
FLANNEL_OPTIONS (flags) of the CentOS package takes precedence over FLANNELD_*,
and FLANNELD_* over FLANNEL_ETCD_ENDPOINTS and FLANNEL_ETCD_PREFIX.

Exit codes: 0 stopped as asked, 1 failed, 2 usage error.
Some subcommands have codes of their own (plan 3, config 3): see their -h.
`;
}

function intro(): string {
  return `flanneld ${VERSION}: one network for the containers of many hosts

Usage: flanneld [flags]                  run the agent
       flanneld <subcommand> [options]   do one thing; -h lists its options
`;
}

function subcommands(): string {
  const column = Math.max(...SUBCOMMANDS.map(({ name }) => name.length));
  return SUBCOMMANDS.map(({ name, summary }) => `  ${name.padEnd(column)}  ${summary}\n`).join("");
}

function flagsOf(group: FlagGroup): readonly FlagDefinition[] {
  return (FLAGS as readonly FlagDefinition[]).filter((flag) => flag.group === group);
}

function heading(group: FlagGroup): string {
  return group[0]!.toUpperCase() + group.slice(1);
}

function describeGroup(group: FlagGroup): string {
  const flags = flagsOf(group);
  if (group !== "not there yet") return flags.map(describe).join("");
  const byFeature = Map.groupBy(flags, (flag) => flag.missing ?? "");
  return Array.from(
    byFeature,
    ([feature, flags]) => `  ${feature}\n${wrap(flags.map(({ name }) => `-${name}`).join(" "))}`,
  ).join("");
}

function describe(flag: FlagDefinition): string {
  const value = flag.placeholder === undefined ? "" : ` ${flag.placeholder}`;
  const variable = flag.group === "general" || flag.noEffect !== undefined
    ? ""
    : ` [${environmentName(flag.name)}]`;
  return `  -${flag.name}${value}\n${wrap(flag.help + limits(flag) + variable)}`;
}

/** Values and default of a flag: ` (1 to 1439; default 60)`. */
function limits(flag: FlagDefinition): string {
  const notes: string[] = [];
  if (flag.choices !== undefined) notes.push(flag.choices.join(", "));
  if (flag.range !== undefined && flag.range[1] !== 2 ** 31 - 1) {
    notes.push(`${flag.range[0]} to ${flag.range[1]}`);
  }
  if (flag.noEffect === undefined && flag.default !== false && flag.default !== "") {
    notes.push(`default ${flag.default}`);
  }
  return notes.length === 0 ? "" : ` (${notes.join("; ")})`;
}

/** Breaks a text into indented lines at its spaces. */
function wrap(text: string, indent = INDENT): string {
  let lines = "";
  let line = indent;
  for (const word of text.split(" ")) {
    if (line !== indent && line.length + 1 + word.length > WIDTH) {
      lines += `${line}\n`;
      line = indent;
    }
    line += (line === indent ? "" : " ") + word;
  }
  return `${lines}${line}\n`;
}
