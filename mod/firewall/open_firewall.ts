import { HostCommands } from "./command.ts";
import { FirewallError } from "./errors.ts";
import type { Firewall, FirewallOptions, FirewallSpec, PreviousNetwork } from "./firewall.ts";
import { IptablesFirewall } from "./iptables_firewall.ts";
import { chooseIptables } from "./iptables.ts";

/**
 * Finds the host's firewall tool; changes nothing yet.
 *
 * A host without a tool is an error only when masquerading is asked for. Accepting forwarded
 * packets is on by default, and where no tool is installed nothing of its kind drops them: the
 * firewall returned then does nothing, says so in its description, and looks for the tool again
 * at each `ensure()`, since installing Docker brings one.
 *
 * @param spec what the rules shall do
 * @param previous what an earlier run served; rules it left outside our chains are found by it
 * @throws {FirewallError} when `spec.ipMasq` is set and the host has no usable iptables
 */
export async function openFirewall(
  spec: FirewallSpec,
  previous: PreviousNetwork | undefined,
  options: FirewallOptions = {},
): Promise<Firewall> {
  const commands = new HostCommands(options);
  const networks = previous === undefined ? [spec] : [spec, previous];
  const choice = await chooseIptables(commands, networks);
  if (choice === undefined && spec.ipMasq) {
    throw new FirewallError(
      "iptables was not found, and -ip-masq needs it: install the package iptables (it is " +
        `searched for in ${commands.searchPath.join(":")}), or run without -ip-masq`,
    );
  }
  return new IptablesFirewall(spec, networks, commands, choice);
}
