import { SOCKET } from "../../docker/protocol/reply.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Check, type Finding, ok, problem, Unavailable } from "../check.ts";
import type { HostFacts } from "../host_facts.ts";
import { describeManagedLink, managedLinks, unmanageCommands } from "../link_managers.ts";

const BRIDGE = "docker0";
const DAEMON_CONFIG = "/etc/docker/daemon.json";
const FIX = [
  "/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker",
  "systemctl restart docker   # with $DOCKER_NETWORK_OPTIONS on its command line",
];

/** Checks whether Docker's bridge is in the lease. No host reaches containers elsewhere. */
export const dockerAddressCheck: Check = {
  id: "docker-address",
  title: "docker0 is in the lease",
  async run(host) {
    const lease = await ownLease(host);
    const link = host.netlink.link(BRIDGE);
    if (link === undefined) {
      throw new Unavailable(`there is no ${BRIDGE}: Docker does not run here`);
    }
    const addresses = host.netlink.addresses({ index: link.index });
    const texts = addresses.map(({ address, prefixLength }) =>
      `${formatIPv4(address)}/${prefixLength}`
    );
    const inside = addresses.some(({ address }) => lease.subnet.contains(address));
    if (inside) return ok(`${BRIDGE} has ${texts.join(", ")}, in ${lease.subnet}`);
    if (await hasPlugin()) return ok(`Docker's flannel networks have ${lease.subnet}`);
    const summary = `${BRIDGE} has ${texts.join(", ") || "no address"}, not in ${lease.subnet}`;
    // Docker gives its bridge an address at its start alone.
    const managed = addresses.length === 0 ? await managedLinks([link]) : [];
    if (managed.length > 0) {
      return problem(summary, {
        evidence: managed.map((link) =>
          `${describeManagedLink(link)}: it removes addresses of others`
        ),
        fix: [
          ...managed.flatMap(({ manager }) => unmanageCommands(manager, BRIDGE, BRIDGE)),
          "systemctl restart docker   # restores the address",
        ],
      });
    }
    return problem(summary, {
      evidence: ["Docker was started before flanneld, or without its options"],
      fix: FIX,
    });
  },
};

/** Checks whether packets of containers fit into the network. Larger ones are fragmented or lost. */
export const dockerMtuCheck: Check = {
  id: "docker-mtu",
  title: "containers have the network's MTU",
  async run(host): Promise<Finding> {
    const { mtu } = await host.tunnel();
    const link = host.netlink.link(BRIDGE);
    if (link === undefined) {
      throw new Unavailable(`there is no ${BRIDGE}: Docker does not run here`);
    }
    if (await hasPlugin()) {
      return ok(`${mtu ?? "that of the backend"} on Docker's flannel networks`);
    }
    if (mtu === undefined) throw new Unavailable("the MTU of this backend is not known here");
    const found = await mtuOfDaemon() ?? await mtuOfFile();
    // A bridge without containers has 1500 in older Docker, whatever containers get.
    const value = found?.mtu ?? link.mtu;
    const source = found?.source ?? `ip link show ${BRIDGE}`;
    if (value <= mtu) return ok(`${value}, and ${mtu} fits (${source})`);
    return problem(`containers send packets of ${value} bytes, and ${mtu} fits`, {
      evidence: [source],
      fix: FIX,
    });
  },
};

/** Returns whether the agent runs with `-docker-plugin`: docker0 is not of the network then. */
async function hasPlugin(): Promise<boolean> {
  return await Deno.stat(SOCKET).then(({ isSocket }) => isSocket === true, () => false);
}

async function ownLease(host: HostFacts) {
  const lease = await host.ownLease();
  if (lease === undefined) throw new Unavailable("this host holds no lease");
  return lease;
}

interface ToldMtu {
  readonly mtu: number;
  readonly source: string;
}

/** Returns `--mtu` of the daemon that runs in this network namespace. */
async function mtuOfDaemon(): Promise<ToldMtu | undefined> {
  const own = await Deno.readLink("/proc/self/ns/net");
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = (await Deno.readTextFile(`/proc/${name}/cmdline`)).split("\0");
      if (!/(^|\/)dockerd$/.test(words[0] ?? "")) continue;
      if (await Deno.readLink(`/proc/${name}/ns/net`) !== own) continue;
      const text = /(?:^| )--mtu[= ](\d+)/.exec(words.join(" "))?.[1];
      if (text !== undefined) return { mtu: Number(text), source: `dockerd --mtu=${text}` };
    } catch {
      // The process has ended, or this one may not read it.
    }
  }
  return undefined;
}

/** Returns `mtu` of daemon.json. */
async function mtuOfFile(): Promise<ToldMtu | undefined> {
  try {
    const { mtu } = JSON.parse(await Deno.readTextFile(DAEMON_CONFIG));
    if (typeof mtu === "number") return { mtu, source: DAEMON_CONFIG };
  } catch {
    // There is none, or Docker reports its error itself.
  }
  return undefined;
}
