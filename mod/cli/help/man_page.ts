import { VERSION } from "../../version.ts";
import { type AgentSubcommand, flagsOf, usageOf } from "../commands/agent_subcommand.ts";
import {
  environmentName,
  FLAG_GROUPS,
  type FlagDefinition,
  type FlagGroup,
} from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import { exitCodesText } from "../exit_codes.ts";
import type { Subcommand } from "../commands/subcommand.ts";

/** Files of the agent, with their purpose. */
export const FILES: readonly (readonly [path: string, text: string])[] = [
  ["/etc/sysconfig/flanneld", "variables that systemd starts the agent with"],
  ["/run/flannel/subnet.env", "the leased subnet, for Docker and CNI"],
  ["/run/flannel/docker", "Docker's options, made of it"],
  ["/run/flannel/options", "the options of this host's agents, without secrets, for subcommands"],
];

/** Exit codes of the program. */
const EXIT_CODES: readonly (readonly [code: string, text: string])[] = [
  ["0", "stopped by SIGTERM or SIGINT; a subcommand did its work"],
  ["1", "a failure; the last line names it"],
  ["2", "usage error: a command line or an environment that cannot be used"],
  ["128 + n", "ended at once by signal n"],
];

const EXAMPLES: readonly (readonly [command: string, text: string])[] = [
  [
    `flanneld config set -etcd-api=v3 '{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}'`,
    "Write the network config, once for all hosts.",
  ],
  [
    "flanneld -etcd-endpoints=http://172.28.128.100:2379 -etcd-prefix=/flannel/network -iface=eth1",
    "Run the agent. Without -iface it takes the interface of the default route.",
  ],
  ["flanneld doctor", "Check the host and its network."],
];

/**
 * Returns the manual page flanneld(8) in roff, with the macros of man(7), from the tables of flags and subcommands.
 */
export async function manPage(subcommands: readonly Subcommand[]): Promise<string> {
  const specs = await Promise.all(subcommands.map(async ({ load }) => (await load()).spec));
  const groups = FLAG_GROUPS.filter((group) => group !== "not there yet");
  return `.\\" Printed by: flanneld man
.TH FLANNELD 8 "" "flanneld ${VERSION}" "System Administration"
.nh
.ad l
.SH NAME
flanneld \\- one network for the containers of many hosts
.SH SYNOPSIS
.B flanneld
.RI [ flags ]
.br
.B flanneld
.I subcommand
.RI [ flags ]
.SH DESCRIPTION
${
    text(
      "flanneld leases a subnet of one container network for its host, writes it where Docker reads " +
        "it, and keeps every other host's subnet reachable. It takes the place of CoreOS flannel " +
        "0.7.1 and shares one etcd with hosts that run flannel, old or new.",
    )
  }
.PP
${
    text(
      "Flags take one dash or two, and a value after = or as the next word. A boolean is set by its " +
        "name alone, and unset by -name=false. A flag that is not given is taken from the " +
        "environment variable in brackets.",
    )
  }
.SH OPTIONS
${groups.map(group).join("")}.SH SUBCOMMANDS
${specs.flatMap((spec) => spec.verbs ?? [spec]).map(subcommand).join("")}.SH ENVIRONMENT
${
    text(
      "Each flag can be given as FLANNELD_ and its name in upper case, with _ for -. FLANNEL_OPTIONS " +
        "(flags) of the CentOS package takes precedence over them, and they over " +
        "FLANNEL_ETCD_ENDPOINTS and FLANNEL_ETCD_PREFIX.",
    )
  }
.PP
${text("NO_COLOR, when it is not empty, keeps the output on a terminal free of colors.")}
.PP
${
    text(
      "Subcommands use the options that this host's agent runs or ran with, so they need no flags. " +
        "Flags and variables that are given take precedence; a line on standard error names those " +
        "that differ. Of several agents -subnet-file or -subnet-dir chooses one, by default the one " +
        "with the default subnet file.",
    )
  }
.SH FILES
${FILES.map(([path, what]) => item(`.I ${escape(path)}`, text(what))).join("")}.SH EXIT STATUS
${EXIT_CODES.map(([code, what]) => item(`.B ${escape(code)}`, text(what))).join("")}.SH EXAMPLES
${
    EXAMPLES.map(([command, what]) =>
      `${text(what)}\n.PP\n.RS 4\n.nf\n${text(command)}\n.fi\n.RE\n.PP\n`
    )
      .join("")
  }.SH SEE ALSO
.BR docker (1),
.BR ip (8),
.BR systemd (1)
`;
}

function group(group: FlagGroup): string {
  const flags = (FLAGS as readonly FlagDefinition[])
    .filter((flag) => flag.group === group && flag.noEffect === undefined);
  const title = group[0]!.toUpperCase() + group.slice(1);
  return flags.length === 0 ? "" : `.SS ${escape(title)}\n${flags.map(agentFlag).join("")}`;
}

function agentFlag(flag: FlagDefinition): string {
  const notes = [
    flag.choices?.join(", "),
    flag.range === undefined || flag.range[1] === 2 ** 31 - 1
      ? undefined
      : `${flag.range[0]} to ${flag.range[1]}`,
    flag.default === false || flag.default === "" ? undefined : `default ${flag.default}`,
  ].filter((note) => note !== undefined);
  const limits = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
  const variable = flag.group === "general" ? "" : ` [${environmentName(flag.name)}]`;
  return item(flagTag(flag.name, flag.placeholder), text(flag.help + limits + variable));
}

function subcommand(spec: AgentSubcommand): string {
  const { summary, operands, exitCodes, agentFlags = true } = spec;
  const help = operands === undefined ? "" : ` ${operands.help}`;
  return `.SS "${escape(usageOf(spec))}"\n${text(summary + help)}\n` +
    flagsOf(spec).map(({ name, kind, placeholder = "file", help }) =>
      item(flagTag(name, kind === "bool" ? undefined : placeholder), text(help))
    ).join("") +
    `.PP\n${
      text(
        (agentFlags ? "Uses the options of this host's agent, and takes its flags. " : "") +
          exitCodesText(exitCodes),
      )
    }\n`;
}

function flagTag(name: string, placeholder: string | undefined): string {
  const flag = escape(`-${name}`);
  return placeholder === undefined ? `.B ${flag}` : `.BI ${flag} " ${escape(placeholder)}"`;
}

/** A tagged paragraph. */
function item(tag: string, body: string): string {
  return `.TP\n${tag}\n${body}\n`;
}

/** A line of running text, which begins with no control character. */
function text(line: string): string {
  const escaped = escape(line);
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

/** Roff's own characters as themselves; a `-` as the one that is typed (groff_char(7)). */
function escape(line: string): string {
  return line.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq")
    .replaceAll('"', "\\(dq").replaceAll("^", "\\(ha").replaceAll("~", "\\(ti")
    .replaceAll("`", "\\(ga");
}
