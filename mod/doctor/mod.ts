/**
 * Finds out what is wrong with a host and its network, and explains where packets go.
 *
 * @module
 */
export * from "./check.ts";
export * from "./checks.ts";
export * from "./run.ts";
export * from "./explain/explain.ts";
export type { Step } from "../../backends/steps.ts";
export * from "./explain/explanation.ts";
export type { ProbeKind } from "./trace/flows.ts";
export { type ProbeProtocol, PROTOCOLS } from "./trace/packet.ts";
