import { assert, assertEquals, assertMatch } from "@std/assert";
import type { LabSystemd } from "../lab/systemd.ts";
import { eventually, isFullMesh } from "./guide.ts";
import { blocks, hostBlocks, readPage, startHosts } from "./pages.ts";

/** Returns the blocks of output of a page. */
async function outputs(path: string): Promise<string[]> {
  return (await readPage(path)).match(/^```text\n.*?^```$/gms) ?? [];
}

Deno.test("guide.zh.md has the commands of guide.md, word for word", async () => {
  const english = await hostBlocks("docs/guide.md");
  assert(english.length > 15);
  assertEquals(await hostBlocks("docs/guide.zh.md"), english);
  assertEquals(await outputs("docs/guide.zh.md"), await outputs("docs/guide.md"));
});

Deno.test("guide.md leads three hosts under a real systemd to one network, and away from it again", async (t) => {
  await using stack = new AsyncDisposableStack();
  const { lab, release, systemds } = await startHosts(stack);
  for (const { where, text } of await hostBlocks("docs/guide.md")) {
    if (where === "shown") continue;
    const names = where === "all" ? [...systemds.keys()] : [where];
    await t.step(`${where}: ${text.split("\n")[0]}`, async () => {
      for (const name of names) {
        const systemd = systemds.get(name);
        if (systemd === undefined) throw new Error(`the guide names ${name}, which is no host`);
        await systemd.exec(["sh", "-ec", `cd ${release}\n${text}`]);
      }
      if (text.includes("enable --now flanneld") || text.startsWith("until ")) {
        await eventually("a full mesh", () => isFullMesh(lab.hosts));
      }
      if (text.includes("route show proto 102")) {
        const routes = (await lab.hosts[0]!.exec(["ip", "route", "show", "proto", "102"])).trim();
        assertEquals(routes.split("\n").length, 2);
        for (const route of routes.split("\n")) {
          assertMatch(route, /^(10\.20\.\d+\.0)\/24 via \1 dev flannel\.1 onlink/);
        }
      }
    });
  }
  const last = systemds.get("host102")!;
  assertEquals((await last.run(["ip", "link", "show", "flannel.1"])).code, 1);
  assertEquals((await last.run(["test", "-e", "/usr/bin/flanneld"])).code, 1);
  assertEquals((await last.run(["test", "-e", "/etc/sysconfig/flanneld"])).code, 0);
});

Deno.test("README.md: its installation by the script and its configuration lead to one network", async () => {
  await using stack = new AsyncDisposableStack();
  const { lab, release, systemds } = await startHosts(stack);
  const [byApt, byScript] = await blocks("README.md", "Install", 2) as [string, string];
  const [sysconfig, config, docker, start] = await blocks("README.md", "Configure", 4) as [
    string,
    string,
    string,
    string,
  ];
  const run = async (block: string, hosts: Iterable<LabSystemd> = systemds.values()) => {
    for (const host of hosts) await host.exec(["sh", "-ec", `cd ${release}\n${block}`]);
  };
  // The test of install.md, which has the same line, runs apt.
  assertEquals((await blocks("docs/install.md", "Install", 2))[0], byApt);
  await run(byScript);
  await run(sysconfig);
  await run(config.replace("config set ", "config set -yes "), [systemds.get("host100")!]);
  await run(docker);
  // The lab has no containers to restart.
  assert(start.includes(" && systemctl restart docker"));
  await run(start.replace(" && systemctl restart docker", ""));
  await eventually("a full mesh", () => isFullMesh(lab.hosts));
});
