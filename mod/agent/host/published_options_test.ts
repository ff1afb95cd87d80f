import { assertEquals, assertMatch } from "@std/assert";
import {
  type EffectiveFlags,
  parsePublishedOptions,
  publishedOptions,
  publishOptions,
  readPublishedOptions,
  removePublishedOptions,
} from "./published_options.ts";

const AGENT = { subnetFile: "/run/flannel/subnet.env" };
const FLAGS: EffectiveFlags = {
  flags: { "ip-masq": true, "iface": ["eth1"], "udp-strict-source": null },
  withheld: ["etcd-password"],
};
const PUBLISHED = publishedOptions({ ...FLAGS, isFromSysconfig: false });

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir({ prefix: "flanneld" });
  try {
    await work(`${parent}/run/options`);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

Deno.test("publishOptions() writes a file for everyone to read, which outlives the agent", () =>
  inDirectory(async (directory) => {
    {
      using _running = await publishOptions(AGENT, PUBLISHED, directory);
      assertEquals(await readPublishedOptions(directory), [
        { published: PUBLISHED, isRunning: true },
      ]);
    }
    assertEquals(await readPublishedOptions(directory), [
      { published: PUBLISHED, isRunning: false },
    ]);
    const path = `${directory}/${encodeURIComponent(AGENT.subnetFile)}.json`;
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o644);
  }));

Deno.test("publishOptions() replaces the file of the agent before, and no other agent's", () =>
  inDirectory(async (directory) => {
    const other = { ...PUBLISHED, flags: { ...FLAGS.flags, "subnet-file": "/run/flannel/a.env" } };
    (await publishOptions({ subnetFile: "/run/flannel/a.env" }, other, directory))[
      Symbol.dispose
    ]();
    for (const published of [PUBLISHED, { ...PUBLISHED, withheld: [] }]) {
      using _running = await publishOptions(AGENT, published, directory);
      assertEquals(await readPublishedOptions(directory), [
        { published: other, isRunning: false },
        { published, isRunning: true },
      ]);
    }
  }));

Deno.test("publishOptions() leaves the file of an agent that runs with the same directory of networks", () =>
  inDirectory(async (directory) => {
    const agent = { ...AGENT, networks: { allowed: [], watch: true, directory: "/run/n" } };
    using _first = await publishOptions(agent, PUBLISHED, directory);
    using _second = await publishOptions(agent, { ...PUBLISHED, withheld: [] }, directory);
    assertEquals(await readPublishedOptions(directory), [
      { published: PUBLISHED, isRunning: true },
    ]);
  }));

Deno.test("publishOptions() does without the file where it cannot be written", async () => {
  using _running = await publishOptions(AGENT, PUBLISHED, "/proc/none/options");
  assertEquals(await readPublishedOptions("/proc/none/options"), []);
});

Deno.test("readPublishedOptions() leaves out what others may have written, and other namespaces", () =>
  inDirectory(async (directory) => {
    await Deno.mkdir(directory, { recursive: true });
    const write = async (name: string, text: string, mode: number) => {
      await Deno.writeTextFile(`${directory}/${name}.json`, text);
      await Deno.chmod(`${directory}/${name}.json`, mode);
    };
    const text = JSON.stringify(PUBLISHED);
    await write("world", text, 0o666);
    await write("group", text, 0o664);
    await write("namespace", JSON.stringify({ ...PUBLISHED, namespace: "net:[1]" }), 0o644);
    await write("cut", text.slice(0, -20), 0o644);
    await write("long", text + " ".repeat(1 << 20), 0o644);
    await Deno.mkdir(`${directory}/directory.json`);
    assertEquals(await readPublishedOptions(directory), []);
    await write("good", text, 0o644);
    assertEquals((await readPublishedOptions(directory)).length, 1);
  }));

Deno.test("parsePublishedOptions() refuses other versions and other forms", () => {
  assertEquals(parsePublishedOptions(JSON.stringify(PUBLISHED)), PUBLISHED);
  for (
    const value of [
      null,
      1,
      "",
      [],
      {},
      { ...PUBLISHED, optionsVersion: 2 },
      {
        ...PUBLISHED,
        flags: null,
      },
      { ...PUBLISHED, withheld: [1] },
      { ...PUBLISHED, isFromSysconfig: "yes" },
    ]
  ) assertEquals(parsePublishedOptions(JSON.stringify(value)), undefined);
  assertEquals(parsePublishedOptions("{"), undefined);
});

Deno.test("removePublishedOptions() removes the file of an agent that has ended, and empty directories", () =>
  inDirectory(async (directory) => {
    const other = { subnetFile: "/run/flannel/a.env" };
    for (const agent of [AGENT, other]) {
      (await publishOptions(agent, PUBLISHED, directory))[Symbol.dispose]();
    }
    {
      using _running = await publishOptions(AGENT, PUBLISHED, directory);
      await removePublishedOptions(AGENT, directory);
      assertEquals((await readPublishedOptions(directory)).length, 2);
    }
    await removePublishedOptions(AGENT, directory);
    const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort();
    assertEquals(names.length, 2);
    for (const name of names) assertMatch(name, /a\.env\.(json|lock)$/);
    await removePublishedOptions(other, directory);
    assertEquals(await readPublishedOptions(directory), []);
    const parent = directory.replace(/\/run\/options$/, "");
    assertEquals(await Array.fromAsync(Deno.readDir(parent)), []);
  }));
