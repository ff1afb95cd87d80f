/**
 * The agent's pages over TCP and over its unix socket. Loads the modules of `/metrics` and `/status` with the first
 * request for them, and probes peers only while these are polled.
 *
 * @module
 */
import { jsonResponse, type Page, type Pages, textResponse } from "../../observe/serve/pages.ts";
import { type Finding, findings } from "./health.ts";
import type { PeerProbe } from "./peer_probe.ts";
import { healthFacts, type StatusSource } from "./view.ts";

/** Default number of peers in `/status`. */
const STATUS_PEERS = 1000;

/** The agent's pages, and its health. */
export class StatusPages {
  readonly #source: StatusSource;
  #probe: PeerProbe | undefined;

  constructor(source: StatusSource) {
    this.#source = source;
  }

  /** Pages by path. */
  readonly pages: Pages = {
    "/": async () => {
      const { clusterPage } = await import("../../page/page.ts");
      return await clusterPage();
    },
    "/healthz": () => this.#healthz(),
    "/readyz": () =>
      this.#source.isReady()
        ? textResponse("flanneld is ready")
        : textResponse("flanneld is not ready yet", { status: 503 }),
    "/metrics": async () => {
      const { metricsPage } = await import("./metrics.ts");
      const { views, metricsPeers } = this.#source;
      return metricsPage(
        await this.#status(metricsPeers, { withHosts: false }),
        new Map(views().map(({ name, metrics }) => [name, metrics])),
      );
    },
    "/status": async (url) => {
      const peers = peersWanted(url);
      if (peers === undefined) {
        return textResponse("peers=N takes a whole number, or all", { status: 400 });
      }
      return jsonResponse(await this.#status(peers));
    },
  } satisfies Record<string, Page>;

  /** True unless the agent itself is stuck: for systemd's watchdog, which would restart it. */
  readonly isWell = (): boolean => !this.#findings().some(({ blame }) => blame === "agent");

  /** Reasons for which `/healthz` fails, one line each. */
  unhealthy(): string[] {
    return this.#findings().map(({ reason }) => reason);
  }

  #healthz(): Response {
    const reasons = this.unhealthy();
    return reasons.length === 0
      ? textResponse("flanneld is running")
      : textResponse(reasons.join("\n"), { status: 503 });
  }

  #findings(): Finding[] {
    const bounds = { watch: this.#source.watchBound * 1000 };
    const now = performance.now();
    return this.#source.views().flatMap((view) =>
      findings(healthFacts(view), bounds, now).map(({ blame, reason }) => ({
        blame,
        reason: view.name === "" ? reason : `network ${view.name}: ${reason}`,
      }))
    );
  }

  async #status(peers: number, options: { readonly withHosts?: boolean } = {}) {
    const [{ collectStatus }, { PeerProbe }] = await Promise.all([
      import("./report.ts"),
      import("./peer_probe.ts"),
    ]);
    const probe = this.#probe ??= new PeerProbe(this.#source.views, this.#source.signal);
    // A request for this host alone needs no echo requests to peers.
    if (peers > 0) probe.request();
    return await collectStatus(this.#source, {
      ...{ unhealthy: this.unhealthy(), probe, peers },
      ...options,
    });
  }
}

function peersWanted(url: URL): number | undefined {
  const text = url.searchParams.get("peers");
  if (text === null) return STATUS_PEERS;
  if (text === "all") return Infinity;
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
