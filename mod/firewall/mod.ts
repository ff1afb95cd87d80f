/**
 * Masquerade and forward rules in the host's firewall.
 *
 * @module
 */
export * from "./errors.ts";
export * from "./firewall.ts";
export type * from "./firewall_spec.ts";
export * from "./inspect/host_tool.ts";
export type { Obstacle, OverlayPath } from "./inspect/obstacles.ts";
export { describeObstacle, openingsOf } from "./inspect/obstacles.ts";
export * from "./open_cleaner.ts";
export * from "./open_firewall.ts";
export * from "./peer_sources.ts";
export { chainTag } from "./tag.ts";
