import { assertEquals } from "@std/assert";
import { optionsOfServed, subnetFiles } from "./options.ts";
import type { AgentOptions } from "../core/options.ts";

const OPTIONS = {
  store: { kind: "etcd", endpoints: ["http://127.0.0.1:2379"], prefix: "/net", api: "v3" },
  subnetFile: "/run/flannel/subnet.env",
} as unknown as AgentOptions;

async function withFiles(
  names: readonly string[],
  test: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    for (const name of names) await Deno.writeTextFile(`${directory}/${name}`, "");
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("subnetFiles() names the networks of a directory, locks and other files aside", () =>
  withFiles(
    ["blue.env", "a.b.env", "blue.env.lock", ".env", "x.txt", "..env"],
    async (directory) => {
      assertEquals([...await subnetFiles(directory)].sort(), ["a.b", "blue"]);
      assertEquals((await subnetFiles(`${directory}/none`)).size, 0);
    },
  ));

Deno.test("optionsOfServed() gives each network its part of the store, its file and its name", () =>
  withFiles(["green.env", "blue.env"], async (directory) => {
    assertEquals(await optionsOfServed(OPTIONS), [OPTIONS]);
    const several = (allowed: string[]) =>
      optionsOfServed({ ...OPTIONS, networks: { allowed, watch: true, directory } });
    assertEquals((await several([])).map(({ networkName }) => networkName), ["blue", "green"]);
    assertEquals(await several(["red"]), [{
      store: { ...OPTIONS.store, prefix: "/net/red" } as AgentOptions["store"],
      subnetFile: `${directory}/red.env`,
      networkName: "red",
    } as AgentOptions]);
  }));
