/**
 * What the agent tells: its log, systemd's notifications.
 *
 * @module
 */
export * from "./log.ts";
export * from "./systemd.ts";
export * from "./watchdog.ts";
