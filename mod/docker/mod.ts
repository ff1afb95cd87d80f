/**
 * Docker's network plugin: networks of `docker network create -d flannel`, on this host's lease.
 *
 * @module
 */
export type { LeasedNetwork } from "./leases.ts";
export { type DockerPluginOptions, serveDockerPlugin } from "./serve.ts";
