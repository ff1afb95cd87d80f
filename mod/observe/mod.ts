/**
 * What the agent tells: its log, systemd's notifications.
 *
 * @module
 */
export * from "./log.ts";
export { shorten } from "./shorten.ts";
export * from "./systemd.ts";
export * from "./watchdog.ts";
