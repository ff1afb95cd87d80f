/**
 * Does what the runtime needs before the first random number and the first connection.
 *
 * @throws {RandomSourceError} when this host has no random numbers
 */
export async function prepareRuntime(): Promise<void> {
  const { requireRandomSource } = await import("../sys/random_source.ts");
  requireRandomSource();
  trustHostCertificates();
}

/**
 * Trusts the host's certificates where -etcd-cafile is not given, as flannel does; the runtime by default trusts a
 * list of its own. The runtime reads the variable at the first TLS connection.
 */
function trustHostCertificates(): void {
  const name = "DENO_TLS_CA_STORE";
  if (Deno.env.get(name) === undefined) Deno.env.set(name, "system,mozilla");
}
