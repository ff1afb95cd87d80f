import { assertEquals } from "@std/assert";
import type { NetworkStore } from "../../store/mod.ts";
import { findProviderRoutes } from "./release_routes.ts";

const EXTERNAL = { name: "eth1", index: 2, mtu: 1500, address: 0xac1c8064, publicIP: 0xac1c8064 };

async function find(config: unknown): Promise<unknown[]> {
  const text = typeof config === "string" ? { missing: config } : { text: JSON.stringify(config) };
  const store = {
    snapshot: () => Promise.resolve({ config: text, leases: [], agents: [], cursor: "1" }),
  } as unknown as NetworkStore;
  const failures: string[] = [];
  const { signal } = new AbortController();
  const found = await findProviderRoutes(store, EXTERNAL, {
    ...{ formerNetworks: [], signal, onFailed: (message: string) => failures.push(message) },
  });
  return [...found, ...failures];
}

Deno.test("findProviderRoutes() has nothing to find where no provider carries packets", async () => {
  assertEquals(await find("100: Key not found"), []);
  for (const type of ["vxlan", "host-gw", "alloc", "no-such-type"]) {
    assertEquals(await find({ Network: "10.20.0.0/16", Backend: { Type: type } }), [], type);
  }
  // An agent cannot use such a config.
  const backend = { Type: "aws-vpc", RouteTableID: "main" };
  assertEquals(await find({ Network: "10.20.0.0/16", Backend: backend }), []);
  assertEquals(await find({ Network: "10.20.0.0/99" }), []);
});
