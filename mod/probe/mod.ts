/**
 * Probes of the network: ICMP echo requests, the MTU of a path, UDP ports, containers.
 *
 * @module
 */
export * from "./answer_containers.ts";
export { askContainers, type AskContainersOptions, type AskedHost } from "./ask_containers.ts";
export * from "./container_query.ts";
export * from "./container_side.ts";
export type { Failure } from "./outcome.ts";
export * from "./path_mtu.ts";
export * from "./prober.ts";
export * from "./udp_port.ts";
