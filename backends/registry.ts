import { ConfigError } from "../mod/config/mod.ts";
import { truncate } from "../mod/text/mod.ts";
import type { Backend } from "./backend.ts";

/** A new backend is a folder and one line here. Imported when chosen, so that none costs another. */
const BACKENDS: Readonly<Record<string, () => Promise<Backend>>> = {
  alloc: async () => (await import("./alloc/alloc.ts")).allocBackend,
  "aws-vpc": async () => (await import("./aws_vpc/aws_vpc.ts")).awsVpcBackend,
  gce: async () => (await import("./gce/gce.ts")).gceBackend,
  "host-gw": async () => (await import("./host_gw/host_gw.ts")).hostGwBackend,
  ipip: async () => (await import("./ipip/ipip.ts")).ipipBackend,
  udp: async () => (await import("./udp/udp.ts")).udpBackend,
  vxlan: async () => (await import("./vxlan/vxlan.ts")).vxlanBackend,
};

/** Values of `Backend.Type`. */
export const BACKEND_TYPES: readonly string[] = Object.keys(BACKENDS);

/** Loads every backend, for state that any of them may have left. */
export async function loadBackends(): Promise<Backend[]> {
  return await Promise.all(Object.values(BACKENDS).map((load) => load()));
}

/**
 * Finds the backend of a config's `Backend.Type`.
 *
 * @throws {ConfigError} for a type that is not there
 */
export async function loadBackend(type: string): Promise<Backend> {
  const load = Object.hasOwn(BACKENDS, type) ? BACKENDS[type] : undefined;
  if (load === undefined) {
    throw new ConfigError(
      `unknown backend type: ${
        type === "" ? '""' : truncate(type, 200)
      } (Backend.Type must be one of ` +
        `${Object.keys(BACKENDS).join(", ")})`,
    );
  }
  return await load();
}
