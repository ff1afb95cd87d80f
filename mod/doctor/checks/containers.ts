import { formatIPv4 } from "../../ip/mod.ts";
import { atMost, type Check, ok, problem } from "../check.ts";
import {
  type ContainerPath,
  type ContainerPaths,
  type Fault,
  probeContainerPaths,
} from "../container_paths.ts";
import { hostNameOf } from "../peers.ts";
import { reachPeers } from "../reach.ts";
import { counted } from "../../text/mod.ts";

/** Checks whether packets get from containers to containers of other hosts, and back. */
export const containersCheck: Check = {
  id: "containers",
  title: "containers reach containers of other hosts",
  async run(host) {
    if ((await reachPeers(host)).length === 0) return ok("there is no other host");
    const found = await probeContainerPaths(host);
    if (found === undefined) return ok("no bridge of another host answers: no container to reach");
    const evidence = atMost(found.paths.map((path) => describePath(found, path)));
    if (found.sideMissing !== undefined) evidence.push(`here: ${found.sideMissing}`);
    if (found.omitted > 0) evidence.push(`not probed: ${counted(found.omitted, "more host")}`);
    if (!found.paths.some(isBroken)) return ok(summaryOf(found), evidence);
    const { device } = await host.tunnel();
    return problem(faultsOf(found, device ?? host.external().name), {
      evidence,
      fix: fixesOf(found),
    });
  },
};

function isBroken({ fault, isReachedBack }: ContainerPath): boolean {
  return fault !== undefined || isReachedBack === false;
}

/**
 * Returns whether the other host's packets do not get in. Where outgoing packets are dropped as well, the missing
 * packet may be the reply, which is no further fault.
 */
function isShut({ fault, isReachedBack }: ContainerPath): boolean {
  return isReachedBack === false && (fault ?? "there") === "there";
}

/** Returns `container 10.20.35.2 reaches containers on 2 of 3 hosts`. */
function summaryOf(found: ContainerPaths): string {
  const { paths } = found;
  const whole = paths.filter(({ container }) => container !== undefined).length;
  const all = `${sideOf(found)} reaches containers on ${whole} of ${paths.length} hosts`;
  return whole === paths.length ? all : `${all}, and the others as far as the host`;
}

function sideOf({ side, from, bridge }: ContainerPaths): string {
  const address = formatIPv4(from);
  if (side === "container") return `container ${address}`;
  return side === "host" ? `this host's ${address}` : `${address}, free on ${bridge},`;
}

/** Describes where packets are dropped, in one line. */
function faultsOf({ paths, bridge }: ContainerPaths, overlay: string): string {
  const count = (faults: readonly Fault[]) =>
    paths.filter(({ fault }) => fault !== undefined && faults.includes(fault)).length;
  const lines: string[] = [];
  const local = `dropped on this host, between ${bridge} and ${overlay}`;
  if (count(["here-out", "both"]) > 0) lines.push(`packets of containers are ${local}`);
  if (count(["here-in"]) > 0) lines.push(`answers to containers are ${local}`);
  if (paths.some(isShut)) lines.push(`packets from other hosts to containers here are ${local}`);
  const there = count(["there", "both"]);
  if (there > 0) {
    lines.push(
      `containers on ${there} of ${paths.length} hosts are not reached: dropped there, between the ` +
        "network and their bridge",
    );
  }
  if (count(["pair"]) > 0) {
    lines.push("packets between containers are dropped, here or there, and those of hosts are not");
  }
  return lines.join("; ");
}

function describePath(found: ContainerPaths, path: ContainerPath): string {
  const { peer, container, missing, host, fault, isReachedBack } = path;
  const from = `${formatIPv4(found.from)} (here)`;
  const there = hostNameOf(peer);
  const to = container === undefined ? formatIPv4(host) : formatIPv4(container);
  const name = container === undefined ? `the host's ${to}` : to;
  const line = fault === undefined
    ? `${from} reaches ${name} on ${there}`
    : `${from} does not reach ${name} on ${there}: ${WORDS[fault]}`;
  const back = isShut(path)
    ? `; ${formatIPv4(host)} there does not reach ${from}: dropped here, on the way in`
    : isReachedBack === false
    ? "; the other host does not reach it either"
    : "";
  return line + back + (missing === undefined ? "" : `; ${missing}`);
}

const WORDS: Readonly<Record<Fault, string>> = {
  "here-out": "dropped here, on the way out",
  "here-in": "the answer is dropped here, on the way in",
  there: "dropped there",
  both: "dropped here and there",
  pair: "though each reaches the other's host",
};

/** Returns the `flanneld explain` commands that name the rule, and the host to run each on. */
function fixesOf({ paths, from }: ContainerPaths): string[] {
  const fixes = new Set<string>();
  for (const path of paths) {
    const { peer, container, host, fault } = path;
    const to = formatIPv4(container ?? host);
    if (fault === "here-out" || fault === "both" || fault === "pair") {
      fixes.add(`flanneld explain ${to}   # here: the rule that drops them on the way out`);
    }
    if (fault === "here-in" || isShut(path)) {
      fixes.add(
        `flanneld explain ${formatIPv4(from)}   # here: the rule that drops them on the way in`,
      );
    }
    if (fault === "there" || fault === "both" || fault === "pair") {
      const address = formatIPv4(peer.lease.attributes.publicIP);
      fixes.add(`flanneld explain ${to}   # on ${address}: the rule that drops them`);
    }
  }
  return atMost([...fixes]);
}
