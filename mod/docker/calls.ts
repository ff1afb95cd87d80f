import type { JsonObject } from "./protocol/fields.ts";

/** A driver's answers to its calls, by the call's name without the driver's. */
export type Calls = Readonly<Record<string, (from: JsonObject) => object | Promise<object>>>;
