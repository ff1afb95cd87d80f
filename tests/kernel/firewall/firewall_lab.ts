import {
  type Firewall,
  type FirewallOptions,
  type FirewallSpec,
  openFirewall,
  type PreviousNetwork,
} from "../../../mod/firewall/mod.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { Namespace } from "./firewall_namespace.ts";

/** The network of the tests, with all that can be asked for. */
export const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ipMasq: true,
  forward: true,
  randomFully: true,
};

/** The kernel's two sets of rules. */
export type Variant = "nft" | "legacy";

/** Sets up rules as Docker 26 does, and one with a comment that is hard to read. */
export async function setUpDocker(host: Namespace, variant: Variant): Promise<void> {
  const rules: string[][] = [
    ["-P", "FORWARD", "DROP"],
    ["-N", "DOCKER"],
    ["-A", "FORWARD", "-o", "docker0", "-j", "DOCKER"],
    ["-A", "FORWARD", "-i", "docker0", "!", "-o", "docker0", "-j", "ACCEPT"],
    ["-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "!", "-o", "docker0"]
      .concat("-j", "MASQUERADE"),
    ["-t", "nat", "-A", "POSTROUTING", "-s", "10.20.0.0/16", "-o", "mine0", "-m", "comment"]
      .concat("--comment", `the operator's "own" -j FLANNEL-POSTRTG \\`, "-j", "ACCEPT"),
  ];
  for (const rule of rules) await host.run(`iptables-${variant}`, ...rule);
}

/** Opens the firewall of a host, {@linkcode SPEC} with `spec` over it. */
export function open(
  host: Namespace,
  spec: Partial<FirewallSpec> = {},
  previous?: PreviousNetwork,
  options: FirewallOptions = {},
): Promise<Firewall> {
  return openFirewall({ ...SPEC, ...spec }, previous, {
    ...{ commandPrefix: host.prefix, netns: `/run/netns/${host.name}` },
    ...options,
  });
}

/** Runs a test twice, each time on a fresh host where Docker uses the other set of rules. */
export function test(
  name: string,
  body: (host: Namespace, variant: Variant) => Promise<void>,
): void {
  for (const variant of ["nft", "legacy"] as const) {
    Deno.test(`${name}, with iptables-${variant}`, async () => {
      await using host = await Namespace.make();
      await setUpDocker(host, variant);
      await body(host, variant);
    });
  }
}
