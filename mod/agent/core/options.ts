import type { InterfaceOptions } from "../../host/mod.ts";
import type { UdpHostOptions, VxlanHostOptions } from "../../../backends/backend.ts";
import type { FirewallMode } from "../../firewall/firewall.ts";
import type { Prefix } from "../../ip/mod.ts";
import type { StoreOptions } from "../../store/options.ts";

export type { InterfaceOptions };

/** Listening address of the lease server and its access control. */
export interface ListenOptions {
  /** An address of this host, or a socket that systemd passed: the number of its descriptor. */
  readonly address:
    | { readonly hostname: string; readonly port: number }
    | { readonly descriptor: number };
  /** Paths of PEM files. With a CA the server admits only clients with a certificate of it. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Path of the file with the token of clients that may write everything. */
  readonly tokenFile?: string;
}

/** Validated options of the agent, from the command line and the environment. */
export interface AgentOptions {
  readonly store: StoreOptions;
  /** Serve the leases to other hosts. */
  readonly listen?: ListenOptions;
  readonly interface: InterfaceOptions;
  /** Ranges that a network may be in though they are not private. */
  readonly allowedNetworks: readonly Prefix[];
  /** Path of subnet.env. */
  readonly subnetFile: string;
  /** Present with `-networks` or `-watch-networks`: several networks, each below the store's prefix. */
  readonly networks?: NetworksOptions;
  /** Name of the network where it is one of several; part of its firewall chains' names. */
  readonly networkName?: string;
  /** Program and arguments to be run when the subnet has changed; none when absent. */
  readonly onSubnetChange?: readonly [string, ...string[]];
  /** Renew the lease this many seconds before it runs out. */
  readonly renewMargin: number;
  /** Tool that makes the firewall rules. */
  readonly firewall: FirewallMode;
  /** Masquerade traffic that leaves the network. */
  readonly ipMasq: boolean;
  /** Accept forwarded traffic from and to the network. */
  readonly forwardRules: boolean;
  /** Accept packets from peers in Docker's own chains, where Docker has any. */
  readonly dockerRules: boolean;
  /** Serve Docker's network plugin. */
  readonly dockerPlugin: boolean;
  /** Seconds between checks of the firewall rules. */
  readonly iptablesResync: number;
  /** Do not ask for `--random-fully`. */
  readonly masqRandomFullyDisable: boolean;
  /** Options of this host for the udp backend. */
  readonly udp: UdpHostOptions;
  /** Options of this host for the vxlan backend. */
  readonly vxlan: VxlanHostOptions;
  /** Address and port of the health endpoint; port 0 turns it off. */
  readonly healthz: { readonly ip: string; readonly port: number };
  /** Options of status, metrics and health. */
  readonly status: StatusOptions;
}

/** Selection of networks, where there are several. */
export interface NetworksOptions {
  /** Names; with `watch` an empty list allows all. */
  readonly allowed: readonly string[];
  /** Serve networks as they come and go in the store. */
  readonly watch: boolean;
  /** Directory of each network's subnet.env, `<network>.env`. */
  readonly directory: string;
}

/** Options of status, metrics and health. */
export interface StatusOptions {
  /** Path of the unix socket; absent for none. */
  readonly socket?: string;
  /** Seconds for which the store may not be followed before `/healthz` fails. */
  readonly watchBound: number;
  /** How many peers have series of their own in `/metrics`. */
  readonly metricsPeers: number;
}
