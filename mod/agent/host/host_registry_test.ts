import { assertEquals, assertRejects } from "@std/assert";
import { ExportError } from "../../export/mod.ts";
import { Prefix } from "../../ip/mod.ts";
import { FileLock } from "../../sys/mod.ts";
import {
  ClashError,
  HostRegistry,
  removeStaleRegistrations,
  servedBeside,
} from "./host_registry.ts";

const { signal } = new AbortController();

async function withDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir();
  try {
    await test(`${parent}/agents`);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

function registryOf(directory: string, network: string): HostRegistry {
  return new HostRegistry({
    holder: `network "${network}"`,
    subnetFile: `/run/${network}.env`,
    directory,
  });
}

function registration(network: string, ...resources: string[]) {
  return { network: Prefix.parse(network)!, resources };
}

Deno.test("HostRegistry.register() refuses a clash in a line that names both networks", () =>
  withDirectory(async (directory) => {
    await using blue = registryOf(directory, "blue");
    await using green = registryOf(directory, "green");
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    const overlap = await assertRejects(
      () => green.register(registration("10.1.128.0/17", "VNI 2"), signal),
      ClashError,
    );
    assertEquals(
      overlap.message,
      'network "green" cannot be served: its Network 10.1.128.0/17 overlaps 10.1.0.0/16 of network ' +
        '"blue", which is served on this host; give each network a range of its own',
    );
    const shared = await assertRejects(
      () => green.register(registration("10.2.0.0/16", "VNI 1"), signal),
      ClashError,
    );
    assertEquals(
      shared.message,
      'network "green" cannot be served: its VNI 1 is used by network "blue", which is served on ' +
        "this host; give its Backend another one",
    );
    await green.register(registration("10.2.0.0/16", "VNI 2"), signal);
    assertEquals(green.others.map(String), ["10.1.0.0/16"]);
  }));

Deno.test("HostRegistry.register() replaces the agent's registration, or keeps it when the next is refused", () =>
  withDirectory(async (directory) => {
    await using blue = registryOf(directory, "blue");
    await using green = registryOf(directory, "green");
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    await blue.register(registration("10.3.0.0/16", "VNI 3"), signal);
    await green.register(registration("10.1.0.0/16", "VNI 1"), signal);
    await assertRejects(
      () => blue.register(registration("10.3.0.0/16", "VNI 1"), signal),
      ClashError,
    );
    await assertRejects(
      () => green.register(registration("10.4.0.0/16", "VNI 3"), signal),
      ClashError,
    );
  }));

Deno.test("HostRegistry removes its registration on disposal, and ignores those of killed agents", () =>
  withDirectory(async (directory) => {
    {
      await using blue = registryOf(directory, "blue");
      await blue.register(registration("10.1.0.0/16"), signal);
    }
    await Deno.writeTextFile(
      `${directory}/dead`,
      JSON.stringify({
        holder: "dead",
        namespace: await Deno.readLink("/proc/self/ns/net"),
        network: "10.1.0.0/16",
        resources: [],
      }),
    );
    {
      await using green = registryOf(directory, "green");
      await green.register(registration("10.1.0.0/16"), signal);
      await removeStaleRegistrations(directory);
      await using red = registryOf(directory, "red");
      await assertRejects(() => red.register(registration("10.1.0.0/16"), signal), ClashError);
    }
    await removeStaleRegistrations(directory);
    await assertRejects(() => Deno.stat(directory), Deno.errors.NotFound);
    await removeStaleRegistrations(directory);
  }));

Deno.test("HostRegistry lets no other user open its files, nor those of an older version", () =>
  withDirectory(async (directory) => {
    await Deno.mkdir(directory, { recursive: true });
    await Deno.writeTextFile(`${directory}/.lock`, "", { mode: 0o644 });
    await using blue = registryOf(directory, "blue");
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    const modes: Record<string, number> = {};
    for await (const { name } of Deno.readDir(directory)) {
      modes[name] = (await Deno.stat(`${directory}/${name}`)).mode! & 0o777;
    }
    assertEquals(Object.keys(modes).length, 2);
    assertEquals(new Set(Object.values(modes)), new Set([0o600]));
  }));

Deno.test("servedBeside() names the process that keeps the directory locked", () =>
  withDirectory(async (directory) => {
    await Deno.mkdir(directory, { recursive: true });
    using _guard = FileLock.tryAcquire(`${directory}/.lock`);
    await assertRejects(
      () => servedBeside(`${directory}/subnet.env`, signal, directory),
      ExportError,
      `(pid ${Deno.pid}) holds the lock of ${directory}/.lock`,
    );
  }));

Deno.test("HostRegistry ignores a locked file that is not a registration", () =>
  withDirectory(async (directory) => {
    await using blue = registryOf(directory, "blue");
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    using held = FileLock.tryAcquire(`${directory}/other`)!;
    await using green = registryOf(directory, "green");
    const entry = {
      holder: "other",
      namespace: await Deno.readLink("/proc/self/ns/net"),
      network: "10.2.0.0/16",
      resources: ["VNI 2"],
    };
    const others = async (text: string) => {
      await Deno.writeTextFile(held.path, text);
      await green.register(registration("10.3.0.0/16"), signal);
      return green.others.map(String).sort();
    };
    assertEquals(await others(JSON.stringify(entry)), ["10.1.0.0/16", "10.2.0.0/16"]);
    for (
      const bad of [
        { network: 5 },
        { network: null },
        { network: ["10.2.0.0/16"] },
        { network: "10.2.0.0" },
        { holder: 1 },
        { namespace: undefined },
        { resources: "VNI 2" },
      ]
    ) assertEquals(await others(JSON.stringify({ ...entry, ...bad })), ["10.1.0.0/16"]);
    for (const text of ["", "null", "[]", "7", JSON.stringify(entry).slice(0, 30)]) {
      assertEquals(await others(text), ["10.1.0.0/16"]);
    }
  }));

Deno.test("servedBeside() returns all running agents but the caller's, and none without a directory", () =>
  withDirectory(async (directory) => {
    assertEquals(await servedBeside("/run/blue.env", signal, directory), []);
    await using blue = registryOf(directory, "blue");
    await using green = registryOf(directory, "green");
    await blue.register(registration("10.1.0.0/16", "VNI 1"), signal);
    await green.register(registration("10.2.0.0/16", "VNI 2"), signal);
    const names = async (subnetFile: string) =>
      (await servedBeside(subnetFile, signal, directory)).map(({ holder, network }) =>
        `${holder} ${network}`
      ).sort();
    assertEquals(await names("/run/blue.env"), ['network "green" 10.2.0.0/16']);
    assertEquals((await names("/run/other.env")).length, 2);
    await green[Symbol.asyncDispose]();
    assertEquals(await names("/run/other.env"), ['network "blue" 10.1.0.0/16']);
  }));
