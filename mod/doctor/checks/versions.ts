import { VERSION } from "../../version.ts";
import { atMost, type Check, ok, problem } from "../check.ts";
import { EVICT, nameOf } from "../peers.ts";
import { counted } from "../../text/mod.ts";

/** Checks that all hosts have one backend. Hosts of different backends do not reach each other. */
export const versionsCheck: Check = {
  id: "versions",
  title: "backends and versions of all hosts",
  async run(host) {
    const { type, leaseType } = await host.backend();
    const peers = await host.peers();
    // Leases of some backends name none.
    const named = (backendType = "") => backendType === "" ? undefined : backendType;
    const others = peers.filter(({ lease }) => named(lease.attributes.backendType) !== leaseType);
    const versions = new Map<string, number>();
    for (const { agent } of peers) {
      const version = agent === undefined ? "without a record (flannel)" : agent.record.version;
      versions.set(version, (versions.get(version) ?? 0) + 1);
    }
    const evidence = [
      `this executable: ${VERSION}`,
      ...[...versions].map(([version, count]) => `${counted(count, "other host")}: ${version}`),
    ];
    if (others.length === 0) {
      return ok(`${counted(peers.length, "other host")}, all ${type}`, evidence);
    }
    return problem(
      `the config's backend is ${type}; with another backend: ${counted(others.length, "host")}`,
      {
        evidence: atMost(
          others.map((peer) =>
            `${nameOf(peer)}: ${named(peer.lease.attributes.backendType) ?? "udp"}`
          ),
        ),
        fix: [
          "flannel takes a new backend only when it is restarted: systemctl restart flanneld there",
          EVICT,
        ],
      },
    );
  },
};
