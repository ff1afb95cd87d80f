/**
 * Formats a number with its noun in singular or plural.
 *
 * @param noun in the singular; its plural ends in s
 *
 * @example
 * ```ts
 * import { counted } from "./counted.ts";
 * console.assert(counted(1, "peer") === "1 peer" && counted(0, "peer") === "0 peers");
 * ```
 */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
