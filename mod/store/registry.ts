/**
 * The kinds of stores. A store is a folder with a driver, and its line here.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { KindOptions, StoreDriver } from "./driver.ts";
import { embeddedDriver } from "./embedded/driver.ts";
import { etcdDriver } from "./etcd/driver.ts";
import { remoteDriver } from "./remote/driver.ts";

const DRIVERS = [etcdDriver, embeddedDriver, remoteDriver] as const;

type OptionsOf<Driver> = Driver extends StoreDriver<infer Options> ? Options : never;

/** The kind of a store, and how it is reached. Validated by the command line. */
export type StoreOptions = OptionsOf<typeof DRIVERS[number]>;

/** Drivers by what all have in common. Each takes the options of its own kind, as its callers do. */
const KINDS: ReadonlyMap<string, StoreDriver<StoreOptions>> = new Map(
  DRIVERS.map((driver) => [driver.kind, driver as StoreDriver<StoreOptions>]),
);

/**
 * Parses `-store KIND=ARGUMENT` of a kind without flags of its own.
 *
 * @throws {ConfigError} that completes "invalid value ... for flag -store: ..."
 */
export function parseStoreArgument(kind: string, argument: string | undefined): StoreOptions {
  const found = KINDS.get(kind);
  if (found?.parse !== undefined) return found.parse(argument);
  const others = [...KINDS.values()].filter(({ parse }) => parse !== undefined)
    .map((driver) => `, or ${driver.kind}=...`);
  throw new ConfigError(`expected etcd, embedded or embedded=PATH${others.join("")}`);
}

/** Returns the driver of a kind. @throws {TypeError} when there is none */
export function driverOf(kind: string): StoreDriver<KindOptions> {
  const driver = KINDS.get(kind);
  if (driver === undefined) throw new TypeError(`there is no store of kind ${kind}`);
  return driver as StoreDriver<KindOptions>;
}
