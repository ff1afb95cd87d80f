import type { HttpReply } from "../http/reply.ts";
import { warning } from "../observe/mod.ts";
import { SysError } from "../sys/mod.ts";
import type { Calls } from "./calls.ts";
import { DockerPluginError } from "./errors.ts";
import { IpamDriver } from "./ipam_driver.ts";
import type { DockerLinks } from "./kernel.ts";
import type { HostLeases } from "./leases.ts";
import { NetworkDriver } from "./network_driver.ts";
import { parseBody } from "./protocol/fields.ts";
import { refusal, result } from "./protocol/reply.ts";

/** A request of dockerd. */
export interface PluginRequest {
  readonly method: string;
  /** `/NetworkDriver.Join` */
  readonly path: string;
  readonly body: string;
}

/** Answers the calls of dockerd. */
export class DockerPlugin {
  readonly #drivers: Readonly<Record<string, Calls>>;

  constructor(leases: HostLeases, links: DockerLinks) {
    this.#drivers = {
      Plugin: { Activate: () => ({ Implements: ["NetworkDriver", "IpamDriver"] }) },
      NetworkDriver: new NetworkDriver(leases, links).calls,
      IpamDriver: new IpamDriver(leases, links).calls,
    };
  }

  /** Never rejects. */
  async answer({ method, path, body }: PluginRequest): Promise<HttpReply> {
    if (method !== "POST") return refusal("only POST", 405);
    const [driver = "", name = ""] = path.slice(1).split(".");
    const calls = Object.hasOwn(this.#drivers, driver) ? this.#drivers[driver]! : {};
    if (!Object.hasOwn(calls, name)) return refusal(`flannel has no ${path.slice(1)}`, 404);
    try {
      // Calls without arguments come without a body, and need none.
      const from = calls[name]!.length === 0 ? {} : parseBody(body);
      return result(await calls[name]!(from));
    } catch (error) {
      if (!(error instanceof DockerPluginError || error instanceof SysError)) {
        warning(`Docker: ${path.slice(1)} failed: ${(error as Error).message}`);
        return refusal("this failed; see flanneld's log", 500);
      }
      warning(`Docker: ${path.slice(1)} refused: ${error.message}`);
      return refusal(error.message);
    }
  }
}
