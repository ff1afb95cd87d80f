/**
 * The subcommands: `flanneld <name> [flags]`. A new one is a file that exports `run` and `spec`, and a line here.
 *
 * @module
 */

import { quote } from "../flags/flag_syntax.ts";
import { nearest } from "../../config/nearest.ts";
import type { Subcommand } from "./subcommand.ts";
import { UsageError } from "../errors.ts";

/** In the order of the help text. */
export const SUBCOMMANDS: readonly Subcommand[] = [
  {
    name: "cleanup",
    summary: "remove the state that a stopped agent has left on this host",
    load: () => import("./cleanup.ts"),
  },
  {
    name: "cni",
    summary: "install the CNI plugin, or remove it",
    load: () => import("./cni.ts"),
  },
  {
    name: "completions",
    summary: "print the completion script of bash, zsh or fish",
    load: () => import("../completions/completions.ts"),
  },
  {
    name: "config",
    summary: "get, set, validate or delete the network config in the store",
    load: () => import("./config/config.ts"),
  },
  {
    name: "docker-opts",
    summary: "write the Docker daemon's options, as mk-docker-opts.sh does",
    load: () => import("./docker_opts.ts"),
  },
  {
    name: "doctor",
    summary: "check this host and its network",
    load: () => import("./doctor.ts"),
  },
  {
    name: "explain",
    summary: "show the path of a packet from this host to an address",
    load: () => import("./explain.ts"),
  },
  {
    name: "lease",
    summary: "list, reserve and end the leases of the network",
    load: () => import("./lease.ts"),
  },
  {
    name: "man",
    summary: "print the manual page",
    load: () => import("../help/man.ts"),
  },
  {
    name: "plan",
    summary: "show what the agent would change on this host now",
    load: () => import("./plan.ts"),
  },
  {
    name: "status",
    summary: "show the status of this host's agent",
    load: () => import("./status.ts"),
  },
  {
    name: "version",
    summary: "print the version, the commit, and the Deno of this program",
    load: () => import("./version.ts"),
  },
];

/**
 * Finds a subcommand.
 *
 * @throws {UsageError} for an unknown name; the message lists the subcommands
 */
export function subcommandNamed(name: string): Subcommand {
  const found = SUBCOMMANDS.find((subcommand) => subcommand.name === name);
  if (found !== undefined) return found;
  const names = SUBCOMMANDS.map((subcommand) => subcommand.name);
  const meant = nearest(name, names);
  throw new UsageError(`unknown subcommand ${quote(name)}: expected ${names.join(", ")}`, {
    hint: (meant === undefined ? "" : `Did you mean ${meant}? `) +
      "Without a subcommand flanneld runs the agent; see flanneld -help.",
  });
}
