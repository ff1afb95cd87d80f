/** The commands of the documents, for tests that run them. `deno task docs` finds who reads which. */
import { shellBlocks } from "../../scripts/checks/doc_blocks.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { Lab } from "../lab/lab.ts";
import { writeLabRelease } from "../lab/release.ts";
import { LabSystemd } from "../lab/systemd.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** A block of shell that begins with the hosts to run it on. */
export interface HostBlock {
  /** Where it is to be run: `all`, `host100`, or `shown`: not in the lab. */
  readonly where: string;
  readonly text: string;
}

/** The first line of a block that names its hosts. */
const PLACE = /^# on (every host|host\d+)(, not run by the test)?\n/;

/** Reads a document. */
export function readPage(path: string): Promise<string> {
  return Deno.readTextFile(`${ROOT}/${path}`);
}

/**
 * Reads the blocks of shell under a heading that are not marked as not run.
 *
 * @param path relative to the project's root: `docs/etcd.md`
 * @param count how many there are
 * @throws {Error} when there are more or fewer
 */
export async function blocks(path: string, heading: string, count: number): Promise<string[]> {
  const found = shellBlocks(await readPage(path))
    .filter((block) => block.heading === heading && block.isRun);
  if (found.length !== count) {
    throw new Error(`${path}: "${heading}" has ${found.length} blocks to run, not ${count}`);
  }
  return found.map(({ text }) => text);
}

/**
 * Reads all blocks of shell of a page that names the hosts of each.
 *
 * @throws {Error} when a block names none
 */
export async function hostBlocks(path: string): Promise<HostBlock[]> {
  return shellBlocks(await readPage(path)).map(({ text }) => {
    const place = PLACE.exec(text);
    if (place === null) throw new Error(`${path}: a block names no host:\n${text}`);
    const [line, hosts, notRun] = place;
    const where = notRun !== undefined ? "shown" : hosts === "every host" ? "all" : hosts!;
    return { where, text: text.slice(line.length) };
  });
}

/** Starts hosts under systemd, with etcd on the first one and a release that they all see. */
export async function startHosts(stack: AsyncDisposableStack) {
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  stack.use(await LabEtcd.start(lab.hosts[0]!));
  return { lab, release: await guideRelease(), systemds: await startSystemds(stack, lab) };
}

let written: Promise<string> | undefined;

/** Returns the directory of a release that the tests of a file share. */
function guideRelease(): Promise<string> {
  return written ??= (async () => {
    const directory = await Deno.makeTempDir({ prefix: "flanneld-guide-release-" });
    globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
    await writeLabRelease(directory, { formats: ["tar"], bundledLibc: false });
    return directory;
  })();
}

/** Boots systemd on each host of a lab. */
export async function startSystemds(
  stack: AsyncDisposableStack,
  lab: Lab,
): Promise<Map<string, LabSystemd>> {
  const systemds = new Map<string, LabSystemd>();
  for (const host of lab.hosts) {
    systemds.set(host.name, stack.use(await LabSystemd.start(host)));
  }
  return systemds;
}
