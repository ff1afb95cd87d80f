import { optionsOfNetwork } from "../../agent/networks/options.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { UsageError } from "../errors.ts";

/**
 * Returns the options for the network that a command is about: of several, the network that `-networks` names.
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
      ? "the agent serves several networks (-watch-networks) and this command takes one"
      : `the agent serves the networks ${networks.allowed.join(", ")} and this command takes one`,
    { hint: `Give one, for example -networks=${name ?? "blue"}` },
  );
}
