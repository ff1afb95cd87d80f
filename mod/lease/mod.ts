/**
 * Leases: their data, keys and values, and the records of the agents that hold them.
 *
 * @module
 */
export * from "./node_record.ts";
export * from "./go_json.ts";
export * from "./key.ts";
export * from "./lease.ts";
export * from "./value.ts";
