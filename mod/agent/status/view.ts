import type { ExternalInterface } from "../../host/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { NetworkStore } from "../../store/mod.ts";
import type { StoreView } from "../core/store_view.ts";
import type { LeaseTerm } from "../lease/keeper.ts";
import type { ActiveNetwork } from "../core/overlay.ts";
import type { Warning } from "../core/warning_log.ts";
import type { SourceVerdict } from "../firewall/source_policy.ts";
import type { HealthFacts } from "./health.ts";
import type { AgentMetrics } from "./agent_metrics.ts";
import type { WaitingView } from "./waiting.ts";

/** State of one network's agent, for the status. Each member is of the moment that it is read. */
export interface AgentView {
  /** As `-networks` names the network; empty without. */
  readonly name: string;
  readonly isReady: boolean;
  readonly metrics: AgentMetrics;
  readonly warnings: readonly Warning[];
  readonly store: Pick<NetworkStore, "name" | "snapshot">;
  readonly known: StoreView;
  readonly external: ExternalInterface;
  readonly lease: Lease | undefined;
  readonly term: LeaseTerm | undefined;
  readonly active: ActiveNetwork | undefined;
  /** Whether inner sources outside the network are refused; `undefined` where nothing encapsulates packets. */
  readonly sources: SourceVerdict | undefined;
  /** Path of subnet.env. */
  readonly subnetFile: string;
}

/** Source of the status pages. */
export interface StatusSource {
  /** The agents that run, one for each network. */
  readonly views: () => readonly AgentView[];
  /** The networks that have none yet, or none at this moment. */
  readonly waiting: () => readonly WaitingView[];
  /** True once every network has its lease. */
  readonly isReady: () => boolean;
  /** Seconds for which the store may not be followed before `/healthz` fails. */
  readonly watchBound: number;
  /** How many peers have series of their own in `/metrics`. */
  readonly metricsPeers: number;
  readonly signal: AbortSignal;
}

/** Returns the members that decide whether the agent is healthy. */
export function healthFacts({ metrics, lease, term, active }: AgentView): HealthFacts {
  return {
    handling: metrics.handling,
    watch: metrics.watch,
    lease: lease && { subnet: String(lease.subnet), ...term },
    stopped: active?.network.status().stopped,
  };
}
