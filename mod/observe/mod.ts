/**
 * What the agent tells: its log, systemd's notifications.
 *
 * @module
 */
export * from "./log/log.ts";
export { shorten } from "./log/shorten.ts";
export * from "./systemd.ts";
export * from "./watchdog.ts";
