/**
 * Files for the programs that use the network: Docker, CNI.
 *
 * @module
 */
export * from "./docker_opts.ts";
export * from "./errors.ts";
export * from "./exported_files.ts";
export * from "./subnet_env.ts";
