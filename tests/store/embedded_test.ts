import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreFollower } from "../lab/store_follower.ts";
import { ConfigError } from "../../mod/config/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { FileLock } from "../../mod/sys/mod.ts";
import { openEmbedded } from "../../mod/store/testing/open_lab.ts";
import { makeEmbeddedLab } from "../../mod/store/testing/embedded_lab.ts";
import { StoreFileError } from "../../mod/store/errors.ts";
import { serverlessCases } from "../../mod/store/testing/store_cases.ts";
import { ip, net, record, vxlan } from "../../mod/store/testing/store_lab.ts";

serverlessCases("embedded", () => Promise.resolve(makeEmbeddedLab()));

async function withFile(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "embedded-" });
  try {
    await body(`${directory}/lib/leases.db`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const owner = { owner: true };

Deno.test("openEmbedded() keeps entries from one owner to the next", () =>
  withFile(async (path) => {
    const seed = '{"Network":"10.20.0.0/16"}';
    {
      await using store = await openEmbedded({ kind: "embedded", path, seed }, owner);
      assertEquals(store.name, `embedded store ${path}`);
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
      await store.putNodeRecord(ip("192.0.2.1"), record("host1"), 600, undefined);
    }
    await using store = await openEmbedded({ kind: "embedded", path }, owner);
    const { config, leases, agents } = await store.snapshot();
    assertEquals(config, { text: seed });
    assertEquals(leases.map(({ subnet }) => `${subnet}`), ["10.20.1.0/24"]);
    assertEquals(agents.map((agent) => agent.record), [record("host1")]);
  }));

Deno.test("openEmbedded() lets one process own a file, and names the one that does", () =>
  withFile(async (path) => {
    // Two networks of one process share it; what is disposed first does not close it.
    const one = await openEmbedded({ kind: "embedded", path }, owner);
    await using two = await openEmbedded({ kind: "embedded", path, network: "blue" }, owner);
    assertEquals(two.name, `embedded store ${path}, network blue`);
    assertEquals(FileLock.tryAcquire(`${path}.lock`), undefined);
    await one[Symbol.asyncDispose]();
    await one[Symbol.asyncDispose]();
    await two.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await two[Symbol.asyncDispose]();

    using _other = FileLock.tryAcquire(`${path}.lock`)!;
    await assertRejects(
      () => openEmbedded({ kind: "embedded", path }, owner),
      StoreFileError,
      `(pid ${Deno.pid}): stop it, or give this agent a file of its own`,
    );
    // A command is no owner.
    await using beside = await openEmbedded({ kind: "embedded", path, network: "blue" });
    await beside.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    await using reading = await openEmbedded({ kind: "embedded", path, network: "blue" }, {
      readOnly: true,
    });
    assertEquals((await reading.snapshot()).leases.length, 2);
    await assertRejects(
      () => reading.createLease(net("10.20.3.0/24"), vxlan("192.0.2.3"), 600),
      StoreFileError,
      "readonly",
    );
  }));

Deno.test("openEmbedded() reads a file that nobody has open, and leaves nothing beside it", () =>
  withFile(async (path) => {
    await (await openEmbedded({ kind: "embedded", path }, owner))[Symbol.asyncDispose]();
    await using store = await openEmbedded({ kind: "embedded", path }, { readOnly: true });
    assertEquals((await store.snapshot()).leases, []);
    await assertRejects(
      () => openEmbedded({ kind: "embedded", path: `${path}x` }, { readOnly: true }),
      StoreFileError,
      "is not there",
    );
  }));

Deno.test("openEmbedded() passes writes of another process to watchers, and expires them", () =>
  withFile(async (path) => {
    await using store = await openEmbedded({ kind: "embedded", path }, owner);
    await using follower = await StoreFollower.start(store);
    await using beside = await openEmbedded({ kind: "embedded", path });
    await beside.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 1);
    await follower.until(({ leases }) => leases.size === 1, 2_000);
    await follower.until(({ leases }) => leases.size === 0, 3_000);
    assertEquals(follower.resyncs, 0);
  }));

Deno.test("openEmbedded() resyncs a watch that began with another file in this place", () =>
  withFile(async (path) => {
    const { cursor } = await (async () => {
      await using store = await openEmbedded({ kind: "embedded", path }, owner);
      return await store.snapshot();
    })();
    await Deno.remove(path);
    await using store = await openEmbedded({ kind: "embedded", path }, owner);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await using follower = new StoreFollower(store, cursor);
    await follower.until(({ leases }) => leases.size === 1);
    assertEquals(follower.resyncs, 1);
  }));

Deno.test("openEmbedded() writes the seed once, and says when it is not what holds", () =>
  withFile(async (path) => {
    const open = async (seed: string, network?: string) => {
      using log = captureLog();
      const named = network === undefined ? {} : { network };
      await using store = await openEmbedded({ kind: "embedded", path, seed, ...named }, owner);
      const { config } = await store.snapshot();
      return { text: "text" in config ? config.text : undefined, log: log.lines.join("\n") };
    };
    const first = '{"Network":"10.20.0.0/16","Backend":{"Type":"vxlan"}}';
    const written = await open(first);
    assertEquals(written.text, first);
    assertStringIncludes(written.log, "Network config written");
    // The same in other words is no news.
    assertEquals(
      (await open('{"SubnetLen":24,"Backend":{"Type":"vxlan"},"Network":"10.20.0.0/16"}')).log,
      "",
    );
    for (const other of ['{"Network":"10.30.0.0/16"}', first.replace("}", ',"VNI":7}')]) {
      const { text, log } = await open(other);
      assertEquals(text, first);
      assertStringIncludes(log, `holds: ${first}`);
      assertStringIncludes(log, other);
      assertStringIncludes(log, "flanneld config set");
    }
    assertEquals(
      (await open('{"Network":"10.40.0.0/16"}', "blue")).text,
      '{"Network":"10.40.0.0/16"}',
    );
    await assertRejects(() => open('{"Network":"10.20.0.0/16","SubnetLen":8}'), ConfigError);
  }));

Deno.test("openEmbedded() has lost no lease that was acknowledged when its process was killed", () =>
  withFile(async (path) => {
    const acknowledged: string[] = [];
    for (let round = 0; round < 4; round++) {
      const lab = new URL("../../mod/store/embedded/testing/kill_lab.ts", import.meta.url).pathname;
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--quiet", lab, path, `${round}`],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const lines = child.stdout.pipeThrough(new TextDecoderStream());
      let text = "";
      let deadline: ReturnType<typeof setTimeout> | undefined;
      for await (const chunk of lines) {
        text += chunk;
        // At a moment of which the writer knows nothing.
        deadline ??= setTimeout(() => child.kill("SIGKILL"), 20 + Math.random() * 200);
      }
      await child.status;
      // The last line may be cut, which is no acknowledgement.
      acknowledged.push(...text.split("\n").slice(0, -1));

      await using store = await openEmbedded({ kind: "embedded", path }, owner);
      const found = new Set((await store.snapshot()).leases.map(({ subnet }) => `${subnet}`));
      assertEquals(acknowledged.filter((subnet) => !found.has(subnet)), []);
      // At most the one that was under way is there besides, in each round.
      assert(found.size <= acknowledged.length + round + 1, `${found.size}`);
      assert(acknowledged.length > round, "nothing was leased");
    }
  }));
