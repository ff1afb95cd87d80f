import type { LabHost } from "../host.ts";

/** A real ufw in a lab host, as packaged: it drops incoming and forwarded packets. */
export class LabUfw implements AsyncDisposable {
  readonly #host: LabHost;

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /** `ufw enable`. */
  static async start(host: LabHost): Promise<LabUfw> {
    await host.exec(["ufw", "--force", "enable"]);
    return new LabUfw(host);
  }

  /** `ufw reload`. */
  async reload(): Promise<void> {
    await this.#host.exec(["ufw", "reload"]);
  }

  /** Opens a TCP port to everybody. */
  async openPort(port: number): Promise<void> {
    await this.#host.exec(["ufw", "allow", `${port}/tcp`]);
  }

  /** Its rules end with the host. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
