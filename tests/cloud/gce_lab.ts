import type { CloudLab, CloudMachine } from "./cloud_lab.ts";
import { GceFake } from "./gce_fake.ts";
import { GceMetadataFake } from "./gce_metadata_fake.ts";
import type { ServePlace } from "./serve.ts";

/** Read-only calls. */
const READS = /\.(get|list)( |$)/;

/** A project with one network, and instances with a metadata server each. */
export class GceLab implements CloudLab {
  readonly gce: GceFake;
  readonly table = "network default";
  /** By the name of their machine. */
  readonly metadata = new Map<string, GceMetadataFake>();
  readonly #place: ServePlace;
  readonly #stack = new AsyncDisposableStack();
  #seen = 0;

  constructor(place: ServePlace = {}) {
    this.#place = place;
    this.gce = this.#stack.use(new GceFake(place));
  }

  get secrets(): readonly string[] {
    return [...this.metadata.values()].flatMap(({ tokens }) => tokens);
  }

  addMachine(name: string, address: string): Promise<CloudMachine> {
    const instance = { name, ip: address, network: "default", canIpForward: true };
    this.gce.instances.set(name, instance);
    const { port: _, ...place } = this.#place;
    const metadata = this.#stack.use(
      new GceMetadataFake({
        ...place,
        instance,
        onToken: (token) => this.gce.tokens.add(token),
      }),
    );
    this.metadata.set(name, metadata);
    return Promise.resolve({
      ...{ name, address, target: name },
      env: {
        GCE_METADATA_HOST: metadata.host,
        CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: this.gce.endpoint,
      },
    });
  }

  terminate({ name }: CloudMachine): Promise<void> {
    this.gce.instances.delete(name);
    return Promise.resolve();
  }

  addRoute(destination: string, { name }: CloudMachine): Promise<void> {
    this.gce.put({ name: nameOf(destination), destRange: destination, instance: name });
    return Promise.resolve();
  }

  removeRoute(destination: string): Promise<void> {
    if (!this.gce.routes.delete(nameOf(destination))) throw new Error(`no route ${destination}`);
    return Promise.resolve();
  }

  routes(): Promise<string[]> {
    return Promise.resolve(
      [...this.gce.routes.values()]
        .map(({ destRange, nextHopInstance }) =>
          `${destRange} ${nextHopInstance.slice(nextHopInstance.lastIndexOf("/") + 1)}`
        )
        .sort(),
    );
  }

  throttle(times: number): void {
    this.gce.faults.push({
      ...{ times, status: 403, reason: "rateLimitExceeded", message: "Rate Limit Exceeded" },
    });
  }

  break(times: number): void {
    this.gce.faults.push({
      ...{ times, status: 503, reason: "backendError", message: "Backend Error" },
    });
  }

  denyCreate(): void {
    this.#deny("routes.insert", "compute.routes.create");
  }

  denyRead(): void {
    this.#deny("routes.list", "compute.routes.list");
  }

  heal(): void {
    this.gce.faults = [];
  }

  takeChanges(): string[] {
    const calls = this.gce.calls.slice(this.#seen);
    this.#seen = this.gce.calls.length;
    return calls.filter((call) => !READS.test(call)).map((call) => call.replace(/ .*/, ""));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #deny(verb: string, permission: string): void {
    this.gce.faults.push({
      ...{ verbs: [verb], times: Infinity, status: 403, reason: "forbidden" },
      message: `Required '${permission}' permission for 'projects/sample-project'`,
    });
  }
}

function nameOf(destination: string): string {
  return `flannel-${destination.replaceAll(/[./]/g, "-")}`;
}
