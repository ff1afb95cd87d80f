import type { ExternalInterface } from "../mod/host/mod.ts";
import type { LeaseAttributes, LeaseForm } from "../mod/lease/mod.ts";
import type { Backend, Network } from "./backend.ts";

/** Returns what this host's lease publishes to peers. */
export function leaseAttributes(
  { leaseType }: Pick<Backend, "leaseType">,
  network: Pick<Network, "leaseData">,
  { publicIP }: Pick<ExternalInterface, "publicIP">,
  form: LeaseForm,
): LeaseAttributes {
  const data = network.leaseData(form);
  return {
    publicIP,
    ...(leaseType === undefined ? {} : { backendType: leaseType }),
    ...(data === undefined ? {} : { backendData: data }),
  };
}
