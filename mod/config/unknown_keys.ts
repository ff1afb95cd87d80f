import { nearest } from "./nearest.ts";
import type { NetworkConfig } from "./network_config.ts";
import { truncate } from "../text/mod.ts";

/** Limit of keys to name; further ones are counted. */
const MAX_NAMED = 20;

/**
 * Describes the unknown keys of a network config, one line each.
 * flannel ignores them silently: with `SubnetLenght` every host uses the default.
 *
 * A key is known when it was requested. Call this after the backend has read its
 * options.
 *
 * @returns lines with the key and, if there is a similar one, the probable intention
 */
export function unknownKeys({ members, backend }: NetworkConfig): string[] {
  const known = members.askedKeys();
  const options = backend.options.askedKeys();
  const ofBackend = `of backend ${backend.type}`;
  const unread = members.unreadKeys();
  const unreadOptions = backend.options.unreadKeys();
  const rest = Math.max(0, unread.length - MAX_NAMED) +
    Math.max(0, unreadOptions.length - MAX_NAMED);
  return [
    ...unread.slice(0, MAX_NAMED).map((key) => {
      const elsewhere = find(key, options);
      return `${shown(key)} is not a key of the network config and is ignored` +
        (elsewhere === undefined
          ? didYouMean(nearestKey(key, known))
          : `; ${elsewhere} belongs inside "Backend": {...}`);
    }),
    ...unreadOptions.slice(0, MAX_NAMED).map((key) => {
      const elsewhere = find(key, known);
      return `${shown(backend.options.path(key))} is not a key ${ofBackend} and is ignored` +
        (elsewhere === undefined
          ? didYouMean(nearestKey(key, options))
          : `; ${elsewhere} belongs outside of "Backend"`);
    }),
    ...(rest === 0 ? [] : [`${rest} more unknown keys are ignored`]),
  ];
}

function find(key: string, keys: readonly string[]): string | undefined {
  return keys.find((known) => known.toLowerCase() === key.toLowerCase());
}

/** Folds the case of a key like Go. */
function nearestKey(key: string, keys: readonly string[]): string | undefined {
  const meant = nearest(key.toLowerCase(), keys.map((known) => known.toLowerCase()));
  return meant === undefined ? undefined : find(meant, keys);
}

function didYouMean(key: string | undefined): string {
  return key === undefined ? "" : `; did you mean ${key}?`;
}

/** Formats a key on one line. */
function shown(key: string): string {
  const text = truncate(key, 60);
  return /^[\w.-]+$/.test(text) ? text : JSON.stringify(text);
}
