import { readSysctl } from "../host/mod.ts";
import type { HostFacts } from "./host_facts.ts";

/** State of forwarding in the kernel (Linux, Documentation/networking/ip-sysctl). */
export interface Forwarding {
  /** `net.ipv4.ip_forward` is 1. */
  readonly isOn: boolean;
  /** The checked interfaces: the tunnel's, Docker's bridge, and the external one. */
  readonly names: readonly string[];
  /** Paths below /proc/sys that turn forwarding off for one of them. */
  readonly off: readonly string[];
}

/** Reads whether packets are forwarded between containers, tunnel and the other hosts. */
export async function forwardingOf(host: HostFacts): Promise<Forwarding> {
  const isOn = readSysctl("net/ipv4/ip_forward") === "1";
  const { device } = await host.tunnel();
  const names = [device, "docker0", host.external().name]
    .filter((name): name is string => name !== undefined)
    .filter((name) => host.netlink.link(name) !== undefined);
  const off = names.map((name) => `net/ipv4/conf/${name}/forwarding`)
    .filter((parameter) => readSysctl(parameter) === "0");
  return { isOn, names, off };
}
