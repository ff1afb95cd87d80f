/**
 * Probes of the network: ICMP echoes, the MTU of a path, UDP ports.
 *
 * @module
 */
export type { Failure } from "./outcome.ts";
export * from "./path_mtu.ts";
export * from "./prober.ts";
export * from "./udp_port.ts";
