import type { LabHost } from "../host.ts";

/** A real ufw in a lab host, as packaged: it drops incoming and forwarded packets. */
export class LabUfw implements AsyncDisposable {
  readonly #host: LabHost;

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /**
   * `ufw enable`.
   *
   * @param port a TCP port that is open to everybody
   */
  static async start(host: LabHost, port: number): Promise<LabUfw> {
    await host.exec(["ufw", "allow", `${port}/tcp`]);
    await host.exec(["ufw", "--force", "enable"]);
    return new LabUfw(host);
  }

  /** `ufw reload`. */
  async reload(): Promise<void> {
    await this.#host.exec(["ufw", "reload"]);
  }

  /** Its rules end with the host. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
