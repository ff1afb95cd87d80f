import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeRelease } from "../../scripts/package/package.ts";
import { VERSION } from "../../mod/version.ts";
import { Lab } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { LabSystemd } from "../lab/systemd.ts";
import { FLANNELD } from "../lab/unit.ts";
import { eventually, isFullMesh } from "./guide.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** A fenced block of the guide. */
interface Block {
  /** Where it is to be run: `all`, `host100`, or `shown`: not in the lab. */
  readonly where: string;
  readonly text: string;
}

/** The first line of a block that names its hosts. */
const PLACE = /^# on (every host|host\d+)(, not run by the test)?\n/;

async function blocks(path: string): Promise<Block[]> {
  const text = await Deno.readTextFile(`${ROOT}/${path}`);
  return Array.from(text.matchAll(/^```(sh|text)\n(.*?)^```$/gms), ([, language, text]) => {
    if (language === "text") return { where: "output", text: text! };
    const place = PLACE.exec(text!);
    if (place === null) throw new Error(`${path}: a block names no host:\n${text}`);
    const [line, hosts, notRun] = place;
    const where = notRun !== undefined ? "shown" : hosts === "every host" ? "all" : hosts!;
    return { where, text: text!.slice(line.length) };
  });
}

/** Starts three hosts under systemd, with etcd on the first one and a release that they all see. */
async function startHosts(stack: AsyncDisposableStack) {
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  stack.use(await LabEtcd.start(lab.hosts[0]!));
  const release = `${lab.dir}/release`;
  await writeRelease({
    root: ROOT,
    executable: FLANNELD,
    output: release,
    info: { version: VERSION, arch: "x86_64", sourceDateEpoch: 1_700_000_000 },
    formats: ["tar"],
  });
  const systemds = new Map<string, LabSystemd>();
  for (const host of lab.hosts) {
    systemds.set(host.name, stack.use(await LabSystemd.start(host)));
  }
  return { lab, release, systemds };
}

Deno.test("guide.zh.md has the commands of guide.md, word for word", async () => {
  const english = await blocks("docs/guide.md");
  assert(english.length > 15);
  assertEquals(await blocks("docs/guide.zh.md"), english);
});

Deno.test("guide.md leads three hosts under a real systemd to one network, and away from it again", async (t) => {
  await using stack = new AsyncDisposableStack();
  const { lab, release, systemds } = await startHosts(stack);
  for (const { where, text } of await blocks("docs/guide.md")) {
    if (where === "shown" || where === "output") continue;
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
  const text = await Deno.readTextFile(`${ROOT}/README.md`);
  const install = /^sh install\.sh \S+/m.exec(text)![0];
  const section = text.split("\n## Configure\n")[1]!.split("\n## ")[0]!;
  const [sysconfig, config, docker, start] = Array.from(
    section.matchAll(/^ {3}```sh\n(.*?)^ {3}```$/gms),
    ([, block]) => block!.replaceAll(/^ {3}/gm, ""),
  ) as [string, string, string, string];
  const run = async (block: string, hosts: Iterable<LabSystemd> = systemds.values()) => {
    for (const host of hosts) await host.exec(["sh", "-ec", `cd ${release}\n${block}`]);
  };
  await run(install);
  await run(sysconfig);
  await run(config.replace("config set ", "config set -yes "), [systemds.get("host100")!]);
  await run(docker);
  // The lab has no containers to restart.
  assert(start.includes(" && systemctl restart docker"));
  await run(start.replace(" && systemctl restart docker", ""));
  await eventually("a full mesh", () => isFullMesh(lab.hosts));
});
