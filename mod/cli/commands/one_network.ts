import { optionsOfNetwork } from "../../agent/networks/options.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { UsageError } from "../errors.ts";

/**
 * The options for the one network that a command is about: of several, the one that `-networks` names.
 *
 * @throws {UsageError} when there are several and not exactly one is named
 */
export function oneNetwork(options: AgentOptions): AgentOptions {
  const { networks } = options;
  if (networks === undefined) return options;
  const [name, ...others] = networks.allowed;
  if (name !== undefined && others.length === 0) return optionsOfNetwork(options, networks, name);
  throw new UsageError(
    name === undefined
      ? "-watch-networks is set and this is about one network: none is named"
      : `-networks names ${networks.allowed.join(", ")} and this is about one network`,
    { hint: `Give one, for example -networks=${name ?? "blue"}` },
  );
}
