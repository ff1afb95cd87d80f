import { formatIPv4 } from "../../ip/mod.ts";
import { AmbiguousConfigError } from "../../store/open.ts";
import { type Check, ok, problem } from "../check.ts";

/** Checks that the store answers, and reports which of etcd's stores is used. */
export const storeCheck: Check = {
  id: "store",
  title: "the store answers",
  async run(host) {
    const found = await host.storeSearch();
    if ("store" in found) return ok(found.note);
    if ("waiting" in found) return ok("etcd answers");
    const { message } = found.error;
    const { store } = host.options;
    if (found.error instanceof AmbiguousConfigError || store.kind !== "etcd") {
      return problem(message);
    }
    const names = store.endpoints.map((endpoint) => URL.parse(endpoint)?.host ?? "")
      .filter((name) => name !== "");
    const routes = names.flatMap((name) => {
      const [, a, b, c, d] = /^(\d+)\.(\d+)\.(\d+)\.(\d+)/.exec(name)?.map(Number) ?? [];
      if (d === undefined) return [];
      const address = ((a! << 24) | (b! << 16) | (c! << 8) | d) >>> 0;
      const route = host.routeTo(address);
      const link = route && host.netlink.linkByIndex(route.oif);
      return route === undefined
        ? [`no route leads to ${formatIPv4(address)}`]
        : [`${formatIPv4(address)} is reached by ${link?.name}, from ${formatIPv4(route.source)}`];
    });
    return problem(message, {
      // Two endpoints of one host have one route.
      evidence: [...new Set(routes)],
      fix: [
        ...names.map((name) =>
          `curl -sS http://${name}/version   # from this host; https with TLS`
        ),
        "is etcd running there, and does it listen on that address (-listen-client-urls)?",
        "correct FLANNEL_ETCD_ENDPOINTS in /etc/sysconfig/flanneld, or -etcd-endpoints",
      ],
    });
  },
};
