import { ConfigError, GoObject } from "../../../config/mod.ts";
import { nearest } from "../../../config/nearest.ts";

/**
 * The keys without which a config cannot be used, and the objects that hold them. A misspelt key of any other name
 * has a default, so the config is used with a warning.
 */
const NEEDED = [["Network", undefined], ["Type", "Backend"]] as const;

/**
 * Finds the misspelt key in a config that lacks a key which it needs.
 *
 * @param text of the config, JSON or not
 * @returns `"Netwrok" is no key: did you mean Network?`; `undefined` where no key is similar
 */
export function misspeltKey(text: string): string | undefined {
  let config: GoObject;
  try {
    config = GoObject.parse(text);
  } catch (error) {
    // The error that the caller reports is another one.
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
  for (const [key, inside] of NEEDED) {
    const object = inside === undefined ? config : objectOf(config, inside);
    if (object === undefined || object.has(key)) continue;
    const near = object.keys().find((one) =>
      nearest(one.toLowerCase(), [key.toLowerCase()]) !== undefined
    );
    if (near !== undefined) {
      const shown = JSON.stringify(object.path(near));
      return `${shown} is no key: did you mean ${object.path(key)}?`;
    }
  }
  return undefined;
}

function objectOf(config: GoObject, key: string): GoObject | undefined {
  try {
    return config.object(key);
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}
