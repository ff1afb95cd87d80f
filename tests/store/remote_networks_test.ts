import { assertEquals } from "@std/assert";
import type { ConnectionSource } from "../../mod/http/connection.ts";
import { serveLeases } from "../../mod/server/mod.ts";
import { libc } from "../../mod/sys/mod.ts";
import { openEmbedded, openNames } from "../../mod/store/testing/open_lab.ts";
import {
  networkCases,
  type NetworksLab,
  someConfig,
} from "../../mod/store/testing/networks_cases.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import { net, vxlan } from "../../mod/store/testing/store_lab.ts";

// Loaded here, so that no case is charged with it.
libc();

/** A flanneld server over one embedded store, which stands for one prefix. */
class Server implements AsyncDisposable {
  readonly path: string;
  readonly port: number;
  #stop = new AbortController();
  #done: Promise<void>;

  constructor(path: string, port = 0) {
    this.path = path;
    const listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.port = listener.addr.port;
    this.#done = serveLeases({
      connections: listener as ConnectionSource,
      networks: {
        open: (network) => this.store(network),
        names: () => openNames({ kind: "embedded", path }, { owner: true }),
      },
      signal: this.#stop.signal,
    });
  }

  store(network: string, seed?: string): Promise<NetworkStore> {
    const options = { kind: "embedded", path: this.path, network } as const;
    return openEmbedded(seed === undefined ? options : { ...options, seed }, { owner: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

networkCases("remote", async (): Promise<NetworksLab> => {
  const directory = await Deno.makeTempDir({ prefix: "networks-" });
  const servers = new Map<string, Server>();
  const at = (prefix: string): Server => {
    const known = servers.get(prefix);
    if (known !== undefined) return known;
    const server = new Server(`${directory}/${servers.size}.db`);
    servers.set(prefix, server);
    return server;
  };
  const removeConfig = async (prefix: string, network: string) => {
    await using store = await at(prefix).store(network);
    await store.removeConfig(someConfig());
  };
  return {
    open: (prefix) => openNames({ kind: "remote", servers: [`127.0.0.1:${at(prefix).port}`] }),
    add: async (prefix, network) => {
      await using _store = await at(prefix).store(network, someConfig());
    },
    removeConfig,
    remove: removeConfig,
    addLease: async (prefix, network) => {
      await using store = await at(prefix).store(network);
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    },
    loseHistory: async () => {
      for (const [prefix, server] of servers) {
        await server[Symbol.asyncDispose]();
        servers.set(prefix, new Server(server.path, server.port));
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const server of servers.values()) await server[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
});

Deno.test("a watch on the names of a server that is away says so once, until it is back", async () => {
  const directory = await Deno.makeTempDir({ prefix: "networks-" });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const states: string[] = [];
  const back = Promise.withResolvers<void>();
  const stop = new AbortController();
  await using names = await openNames({ kind: "remote", servers: [`127.0.0.1:${port}`] });
  const watch = (async () => {
    const onState = (error: Error | undefined) => {
      states.push(error === undefined ? "stands" : "broken");
      if (error === undefined) back.resolve();
    };
    for await (const _ of names.watch("1", { signal: stop.signal, onState })) break;
  })();
  // The pause after the fifth is longer than what a poll that is held takes to count.
  for (let attempt = 0; attempt < 6; attempt++) (await listener.accept()).close();
  assertEquals(states, ["broken"]);
  listener.close();
  {
    await using _server = new Server(`${directory}/1.db`, port);
    await back.promise;
    assertEquals(states, ["broken", "stands"]);
    stop.abort();
    await watch;
  }
  await Deno.remove(directory, { recursive: true });
});
