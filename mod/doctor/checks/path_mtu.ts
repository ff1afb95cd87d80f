import { measurePathMtu, type PathMtu } from "../../probe/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Check, ok, problem, Unavailable } from "../check.ts";
import { nameOf } from "../peers.ts";
import { type PeerReach, reachPeers } from "../reach.ts";

/** Largest number of peers whose path MTU is measured after a full packet did not arrive. */
const MOST_MEASURED = 8;
/** Echo requests of full size to each peer: one alone may be lost. */
const COPIES = 3;

/** Checks whether a packet of the network's MTU reaches each peer without fragmentation. */
export const pathMtuCheck: Check = {
  id: "path-mtu",
  title: "full packets get to the peers",
  async run(host) {
    const { mtu: limit, protocol } = await host.tunnel();
    const targets = (await reachPeers(host)).flatMap((one) => {
      if (one.overlay !== undefined) return [{ one, address: one.overlay.address }];
      if (protocol !== undefined || !one.isUp) return [];
      return [{ one, address: one.peer.lease.attributes.publicIP }];
    });
    if (targets.length === 0) throw new Unavailable("no peer answers");
    const prober = await host.prober();
    const { signal } = host;
    const addresses = targets.flatMap(({ address }) => new Array<number>(COPIES).fill(address));
    const outcomes = await prober.echo(addresses, {
      ...{ size: limit, dontFragment: true, signal },
    });
    const narrow = targets.filter((_, i) =>
      outcomes.slice(i * COPIES, (i + 1) * COPIES).every(({ type }) => type !== "reply")
    );
    if (narrow.length === 0) return ok(`${limit} bytes, to ${targets.length} of them`);
    const measured = await Promise.all(
      narrow.slice(0, MOST_MEASURED).map(async ({ one, address }) => ({
        one,
        path: await measurePathMtu(prober, address, { limit, signal }),
      })),
    );
    const found = measured.flatMap(({ path }) => path === undefined ? [] : [path.mtu]);
    const least = found.length === 0 ? undefined : Math.min(...found);
    const name = host.external().name;
    return problem(
      `packets of ${limit} bytes do not get to ${narrow.length} of ${targets.length} hosts` +
        (least === undefined ? "" : `; ${least} do`),
      {
        evidence: measured.map(describe),
        fix: least === undefined ? [] : [
          `raise the MTU of what lies between: packets of ${host.external().mtu} bytes leave by ${name}`,
          `or lower it on every host: ip link set ${name} mtu ${
            host.external().mtu - (limit - least)
          }; the agents follow, then restart Docker`,
        ],
      },
    );
  },
};

function describe({ one, path }: { readonly one: PeerReach; readonly path: PathMtu | undefined }) {
  const reported = path?.reportedBy === undefined
    ? ""
    : path.reportedBy === "here"
    ? ", reported by this host's kernel"
    : `, reported by ${formatIPv4(path.reportedBy)}`;
  return `${nameOf(one.peer)}: ${
    path === undefined ? "nothing above 576" : path.mtu
  } bytes${reported}`;
}
