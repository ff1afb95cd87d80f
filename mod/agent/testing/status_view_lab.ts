import type { Network, NetworkStatus } from "../../../backends/backend.ts";
import type { NetworkConfig } from "../../config/mod.ts";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import { StoreView } from "../core/store_view.ts";
import type { AgentView } from "../status/view.ts";
import { AgentMetrics } from "../status/agent_metrics.ts";

/** A lease, for tests: `labLease(65)` is 10.20.65.0/24 of host 172.28.0.65. */
export function labLease(octet: number, backendType?: string): Lease {
  return {
    subnet: new Prefix(parseIPv4(`10.20.${octet}.0`)!, 24),
    attributes: {
      publicIP: parseIPv4(`172.28.0.${octet}`)!,
      ...(backendType === undefined ? {} : { backendType }),
    },
    revision: "1",
  };
}

/** A view of an agent that holds 10.20.1.0/24 and knows these peers, for tests. */
export function labView(
  peers: readonly Lease[],
  { status = {}, ...view }: Partial<Omit<AgentView, "active">> & {
    readonly status?: Partial<NetworkStatus>;
  } = {},
): AgentView {
  const own = labLease(1);
  const known = new StoreView();
  known.config = { text: '{"Network":"10.20.0.0/16"}' };
  known.leases.replace([...peers, own]);
  const external = {
    ...{ index: 2, name: "eth1", mtu: 1500 },
    address: own.attributes.publicIP,
    publicIP: own.attributes.publicIP,
  } as AgentView["external"];
  const now = performance.now();
  const network = {
    mtu: 1472,
    status: () => ({ device: "flannel0", peers: peers.length, refused: new Map(), ...status }),
  } as unknown as Network;
  const config = {
    network: new Prefix(parseIPv4("10.20.0.0")!, 16),
    backend: { type: "udp" },
  } as NetworkConfig;
  return {
    ...{ name: "", isReady: true, metrics: new AgentMetrics(), warnings: [], known, external },
    store: {
      name: "a store",
      snapshot: () => Promise.reject(new Error("this test has no records")),
    },
    lease: own,
    term: { since: now - 1000, renewal: now + 82_800_000, expiry: now + 86_399_000 },
    sources: undefined,
    active: { config, external, network, attributes: own.attributes },
    subnetFile: "/run/flannel/subnet.env",
    ...view,
  };
}
