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
 * A host without a tool is an error only with masquerading or a tool by name. Without a tool no rule drops
 * forwarded packets, so a firewall that only accepts them then does nothing; its description states that, and each
 * `ensure()` searches for the tools again, since an installation of Docker adds one.
 *
 * @param spec the desired rules; with both features off all rules are removed
 * @param previous network and subnet of the earlier run, which identify rules of an older flannel
 * @throws {FirewallError} when `spec.ipMasq` is set and the host has no usable tool, or when the requested tool is
 * missing
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
