import type { Backend, BackendContext, Network, NetworkStatus } from "../backend.ts";
import { removeManagedRoutes } from "../managed.ts";
import { plainInspection } from "../plain_inspection.ts";
import { routeStep } from "../steps.ts";

/** A lease and nothing else: something outside carries the packets. */
export const allocBackend: Backend = {
  type: "alloc",
  changesKernel: false,
  carriesPackets: false,
  mtuFor: (_options, interfaceMtu) => interfaceMtu,
  inspect: (context) => ({
    ...plainInspection(context),
    describe: (_lease, _own, address) => [routeStep(context.netlink, address)],
  }),
  prepare(context: BackendContext): Promise<Network> {
    return Promise.resolve(new AllocNetwork(context));
  },
};

class AllocNetwork implements Network {
  readonly mtu: number;
  readonly ingress = {};
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.mtu = context.external.mtu;
    this.#context = context;
  }

  leaseData(): undefined {
    return undefined;
  }

  sync(): Promise<number> {
    return Promise.resolve(removeManagedRoutes(this.#context));
  }

  apply(): Promise<number> {
    return Promise.resolve(0);
  }

  status(): NetworkStatus {
    return { peers: 0, refused: new Map() };
  }

  run(): Promise<void> {
    return Promise.resolve();
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
