import { EtcdServer, freePort } from "./etcd.ts";

/**
 * A real etcd of several members on the loopback address.
 *
 * @example
 * ```ts ignore
 * await using cluster = await EtcdCluster.start(3);
 * await cluster.members[0].kill();
 * ```
 */
export class EtcdCluster implements AsyncDisposable {
  readonly members: readonly EtcdServer[];

  private constructor(members: readonly EtcdServer[]) {
    this.members = members;
  }

  /**
   * Starts the members and waits until they have a leader.
   *
   * @param flags further ones of every member
   */
  static async start(size: number, flags: readonly string[] = []): Promise<EtcdCluster> {
    const peers = Array.from({ length: size }, (_, i) => ({
      name: `member${i}`,
      url: `http://127.0.0.1:${freePort()}`,
    }));
    const cluster = peers.map(({ name, url }) => `${name}=${url}`).join(",");
    const started = await Promise.allSettled(peers.map(({ name, url }) =>
      EtcdServer.start({
        flags: [
          `--name=${name}`,
          `--listen-peer-urls=${url}`,
          `--initial-advertise-peer-urls=${url}`,
          `--initial-cluster=${cluster}`,
          ...flags,
        ],
      })
    ));
    const members = started.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
    const failed = started.find((one) => one.status === "rejected");
    if (failed !== undefined) {
      await new EtcdCluster(members)[Symbol.asyncDispose]();
      throw failed.reason;
    }
    return new EtcdCluster(members);
  }

  /** Client URL of each member. */
  get endpoints(): string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member[Symbol.asyncDispose]()));
  }
}
