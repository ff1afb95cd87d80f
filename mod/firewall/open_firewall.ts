import { HostCommands } from "./command.ts";
import { FirewallError } from "./errors.ts";
import type { Firewall, FirewallOptions } from "./firewall.ts";
import { HostFirewall } from "./host_firewall.ts";
import { PeerSet } from "./peer_set.ts";
import { PeerSources } from "./peer_sources.ts";
import { findTools } from "./tools.ts";
import type { FirewallSpec, PreviousNetwork } from "./firewall_spec.ts";

/**
 * Finds the host's firewall tools; changes nothing yet.
 *
 * A host without a tool is an error only when masquerading, or one tool by name, is asked for.
 * Accepting forwarded packets is on by default, and where no tool is installed nothing of its kind
 * drops them: the firewall returned then does nothing, says so in its description, and looks for
 * the tools again at each `ensure()`, since installing Docker brings one.
 *
 * @param spec what the rules shall do; a specification with both features off removes everything
 * @param previous what an earlier run served; rules it left outside our chains are found by it
 * @throws {FirewallError} when `spec.ipMasq` is set and the host has no usable tool, or not the one
 * asked for
 */
export async function openFirewall(
  spec: FirewallSpec,
  previous: PreviousNetwork | undefined,
  options: FirewallOptions = {},
): Promise<Firewall> {
  const commands = new HostCommands(options);
  const networks = previous === undefined ? [spec] : [spec, previous];
  const { mode = "auto", preferNftables = false, isRunning = false } = options;
  const { peers = new PeerSources(), netns } = options;
  const peerSet = new PeerSet(spec.tag, peers, netns);
  const find = () =>
    findTools(commands, {
      ...{ mode, preferNftables, isRunning, spec, networks, peers, peerSet, netns },
    });
  const tools = await find();
  if (tools.description === undefined && spec.ipMasq) {
    throw new FirewallError(
      "neither iptables nor nft was found, and -ip-masq needs one of them: install the package " +
        `iptables or nftables (they are searched for in ${
          commands.searchPath.join(":")
        }), or run ` +
        "without -ip-masq",
    );
  }
  return new HostFirewall(spec, { tools, find, peers: peerSet });
}
