/**
 * The agent's log, metrics, HTTP and unix endpoints, and systemd's notifications.
 *
 * @module
 */
export * from "./log/log.ts";
export { shorten } from "./log/shorten.ts";
export * from "./systemd.ts";
export * from "./watchdog.ts";
