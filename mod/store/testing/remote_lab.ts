import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import type { ConnectionSource } from "../../http/connection.ts";
import { serveLeases } from "../../server/mod.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import { openRemote } from "./open_lab.ts";
import type { NetworkStore } from "../network_store.ts";
import type { ServedLab, StoreLab } from "./store_lab.ts";

/** A flanneld server over the store of another lab, and its faults. */
export async function makeRemoteLab(backing: StoreLab): Promise<ServedLab> {
  // The cases write for many hosts, which takes a token.
  const tokenFile = await Deno.makeTempFile({ prefix: "token-" });
  await Deno.writeTextFile(tokenFile, TOKEN);
  const server = new LabServer(backing);
  await server.start();
  // The proxy before it freezes, since the server shares this process.
  const proxy = new TcpProxy(`http://127.0.0.1:${server.port}`);
  const endpoint = `http://${proxy.address}`;
  return {
    ...backing,
    endpoint,
    open: (prefix, { endpoints = [endpoint] }: Partial<EtcdOptions> = {}): Promise<NetworkStore> =>
      openRemote({
        kind: "remote",
        servers: endpoints.map((url) => new URL(url).host),
        tokenFile,
        network: networkOf(prefix),
      }),
    loseHistory: () => server.restart(),
    stop: () => server.stop(),
    resume: () => server.start(),
    wipe: async () => {
      await server.stop();
      await backing.deleteTree("/cases");
      await server.start();
    },
    freeze: (on) => Promise.resolve(proxy.silence(on)),
    [Symbol.asyncDispose]: async () => {
      await proxy[Symbol.asyncDispose]();
      await server.stop();
      await backing[Symbol.asyncDispose]();
      await Deno.remove(tokenFile);
    },
  };
}

/** Shared by the server and its clients. */
const TOKEN = crypto.randomUUID();

/** A network's name has no slashes. */
function networkOf(prefix: string): string {
  return prefix.replaceAll("/", "~");
}

class LabServer {
  readonly #backing: StoreLab;
  #running: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  port = 0;

  constructor(backing: StoreLab) {
    this.#backing = backing;
  }

  async start(): Promise<void> {
    await Promise.resolve();
    const listener = Deno.listen({ hostname: "127.0.0.1", port: this.port });
    this.port = listener.addr.port;
    const stop = new AbortController();
    const done = serveLeases({
      connections: listener as ConnectionSource,
      networks: { open: (network) => this.#backing.open(network.replaceAll("~", "/")) },
      token: TOKEN,
      signal: stop.signal,
    });
    this.#running = { stop, done };
  }

  async stop(): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
    this.#running = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}
