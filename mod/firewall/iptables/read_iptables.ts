import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Action, Match, ProbePacket, ReadChain, ReadRule } from "../inspect/chain_walk.ts";
import { ruleOptions, type SavedChain, splitWords } from "./save_format.ts";

/** Targets of iptables-extensions(8) after which a packet goes on to the next rule. */
const PASSING: ReadonlySet<string> = new Set([
  ...["LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "CONNSECMARK", "SECMARK", "CT", "NOTRACK"],
  ...["TRACE", "TCPMSS", "CLASSIFY", "AUDIT", "CHECKSUM", "DSCP", "TOS", "TTL", "SET", "RATEEST"],
]);

/** Options that do not restrict the matched packets. */
const NEUTRAL: ReadonlySet<string> = new Set([
  ...["--comment", "--reject-with", "--log-prefix", "--log-level", "--nflog-prefix"],
  ...["--nflog-group", "--set-xmark", "--set-mark"],
]);

/** Makes the chains of one table, as iptables-save wrote them, walkable. */
export function readIptables(
  table: ReadonlyMap<string, SavedChain>,
): Map<string, ReadChain> {
  return new Map([...table].map(([name, { policy, rules }]) => [name, {
    ...(policy === "-" ? {} : { policy: policy === "ACCEPT" ? "accept" : "drop" }),
    rules: rules.map((rule) => readRule(rule, table)),
  }]));
}

/** Takes a rule apart when it is walked: a host may have tens of thousands. */
function readRule(text: string, table: ReadonlyMap<string, SavedChain>): ReadRule {
  return (packet) => {
    let matches: Match = true;
    let action: Action = { type: "continue" };
    for (const option of ruleOptions(splitWords(text))) {
      const isNegated = option.startsWith("! ");
      const [name, ...values] = option.slice(isNegated ? 2 : 0).split(" ") as [string, ...string[]];
      if (name === "-j" || name === "-g") {
        action = actionOf(name, values[0] ?? "", table);
      } else if (!NEUTRAL.has(name)) {
        const found = matchOption(name, values.join(" "), packet);
        matches = and(matches, isNegated ? not(found) : found);
      }
      if (matches === false) break;
    }
    return { matches, action };
  };
}

function actionOf(
  option: "-j" | "-g",
  target: string,
  table: ReadonlyMap<string, SavedChain>,
): Action {
  if (table.has(target)) return { type: option === "-j" ? "jump" : "goto", chain: target };
  switch (target) {
    case "ACCEPT":
      return { type: "accept" };
    case "DROP":
    case "REJECT":
      return { type: "drop" };
    case "RETURN":
      return { type: "return" };
    default:
      return { type: PASSING.has(target) ? "continue" : "unknown" };
  }
}

/** iptables(8), iptables-extensions(8). */
function matchOption(name: string, value: string, packet: ProbePacket): Match {
  switch (name) {
    case "-i":
      return matchDevice(packet.inDevice, value);
    case "-o":
      return matchDevice(packet.outDevice, value);
    case "-s":
      return matchAddress(packet.source, value);
    case "-d":
      return matchAddress(packet.destination, value);
    case "-p":
      return value === "all" || value === packet.protocol ? true : false;
    case "--dport":
    case "--dports":
      return value.split(",").some((range) => {
        const [first, last = first] = range.split(":").map(Number) as [number, number?];
        return packet.port >= first && packet.port <= last;
      });
    case "--ctstate":
    case "--state":
      return value.split(",").includes("NEW");
    case "--dst-type":
      return value === (packet.hook === "input" ? "LOCAL" : "UNICAST");
    default:
      return undefined;
  }
}

/** `eth+` is every device whose name begins with `eth`. */
function matchDevice(device: string | undefined, pattern: string): Match {
  if (pattern === "+") return true;
  if (device === undefined) return undefined;
  return pattern.endsWith("+") ? device.startsWith(pattern.slice(0, -1)) : device === pattern;
}

function matchAddress(address: number, text: string): Match {
  const single = parseIPv4(text);
  if (single !== undefined) return address === single;
  return Prefix.parse(text)?.contains(address);
}

/** True when both do; unknown when one of them is and the other matches. */
export function and(a: Match, b: Match): Match {
  if (a === false || b === false) return false;
  return a === undefined || b === undefined ? undefined : true;
}

/** The opposite, where it is known. */
export function not(match: Match): Match {
  return match === undefined ? undefined : !match;
}
