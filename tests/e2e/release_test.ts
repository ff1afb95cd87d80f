import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../mod/version.ts";
import { blocks } from "./pages.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

const work = await Deno.makeTempDir({ prefix: "flanneld-release-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));

const GNUPGHOME = `${work}/gnupg`;
await Deno.mkdir(GNUPGHOME, { mode: 0o700 });

async function run(command: readonly string[], env: Record<string, string> = {}) {
  const [name, ...args] = command as [string, ...string[]];
  const { code, stdout, stderr } = await new Deno.Command(name, {
    args,
    env: { NO_COLOR: "1", GNUPGHOME, ...env },
    stdin: "null",
    signal: AbortSignal.timeout(600_000),
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

async function succeed(command: readonly string[]): Promise<string> {
  const { code, output } = await run(command);
  assertEquals(code, 0, output);
  return output;
}

/** Clones the commit of this checkout, as somebody who builds the release does. */
async function clone(name: string): Promise<string> {
  await succeed(["git", "clone", "--quiet", ROOT, `${work}/${name}`]);
  return `${work}/${name}`;
}

/** Runs `deno task release` in a clone, with the runtimes and packages that this checkout has downloaded. */
async function release(root: string, ...args: string[]) {
  const cache = `${work}/cache`;
  await Deno.mkdir(cache, { recursive: true });
  await Deno.mkdir(`${ROOT}/.cache`, { recursive: true });
  await Deno.remove(`${cache}/flanneld`).catch(() => {});
  await Deno.symlink(`${ROOT}/.cache`, `${cache}/flanneld`);
  const { denoDir } = JSON.parse(await succeed([Deno.execPath(), "info", "--json"]));
  return await run([Deno.execPath(), "task", "--cwd", root, "release", ...args], {
    XDG_CACHE_HOME: cache,
    DENO_DIR: denoDir,
  });
}

Deno.test("deno task release in two clones of a commit gives the same bytes, signed by minisign and by gpg", async () => {
  const [secret, publicKey] = [`${work}/minisign.key`, `${work}/minisign.pub`];
  await succeed(["minisign", "-G", "-W", "-s", secret, "-p", publicKey]);
  const identity = "release@example.com";
  await succeed([
    ...["gpg", "--batch", "--passphrase", "", "--quick-generate-key", identity, "ed25519", "sign"],
  ]);
  try {
    const [first, second] = [await clone("first"), await clone("second")];
    for (
      const [root, ...args] of [
        [first, `--minisign-key=${secret}`, "--gzip-level=1"],
        [second, `--minisign-key=${secret}`, "--gzip-level=1", `--gpg-key=${identity}`],
      ] as const
    ) {
      const { code, output } = await release(root, ...args);
      assertEquals(code, 0, output);
    }
    const directory = `${second}/dist/release`;
    const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    assertEquals(names, [
      "SHA256SUMS",
      "SHA256SUMS.asc",
      "SHA256SUMS.minisig",
      `flanneld-${VERSION}-1.el7.x86_64.rpm`,
      `flanneld-${VERSION}-1.x86_64.rpm`,
      `flanneld-${VERSION}-linux-x86_64-bundled.cdx.json`,
      `flanneld-${VERSION}-linux-x86_64-bundled.tar.gz`,
      `flanneld-${VERSION}-linux-x86_64.cdx.json`,
      `flanneld-${VERSION}-linux-x86_64.oci.cdx.json`,
      `flanneld-${VERSION}-linux-x86_64.oci.tar`,
      `flanneld-${VERSION}-linux-x86_64.tar.gz`,
      `flanneld_${VERSION}_amd64.deb`,
      "install.sh",
    ]);
    for (const name of names.filter((name) => name !== "SHA256SUMS.asc")) {
      await succeed(["cmp", `${first}/dist/release/${name}`, `${directory}/${name}`]);
    }
    await succeed(["sh", "-c", `cd ${directory} && sha256sum --check --strict SHA256SUMS`]);
    const sums = `${directory}/SHA256SUMS`;
    const [verify, version] = await blocks("docs/release.md", "Verify a release", 2);
    await Deno.copyFile(publicKey, `${directory}/flanneld.pub`);
    await succeed(["sh", "-ec", `cd ${directory}\n${verify}`]);
    await succeed(["gpg", "--verify", `${sums}.asc`, sums]);
    await Deno.writeTextFile(sums, "altered\n", { append: true });
    assertEquals((await run(["minisign", "-V", "-p", publicKey, "-m", sums])).code, 1);
    assertEquals((await run(["gpg", "--verify", `${sums}.asc`, sums])).code, 1);

    await succeed([
      "tar",
      "-xzf",
      `${directory}/flanneld-${VERSION}-linux-x86_64.tar.gz`,
      "--directory",
      work,
    ]);
    const bin = `${work}/flanneld-${VERSION}-linux-x86_64/usr/bin`;
    const { commit } = JSON.parse(await succeed(["sh", "-ec", `PATH=${bin}:$PATH\n${version}`]));
    assertEquals(commit, (await succeed(["git", "-C", second, "rev-parse", "HEAD"])).trim());
  } finally {
    await succeed(["gpgconf", "--kill", "all"]);
  }
});

Deno.test("deno task release refuses a checkout with changes, and names them", async () => {
  const root = await clone("changed");
  await Deno.writeTextFile(`${root}/main.ts`, "// changed\n", { append: true });
  const { code, output } = await release(root);
  assertEquals(code, 1, output);
  assertStringIncludes(output, `release: the checkout ${root} has changes that no commit holds`);
  assertMatch(output, /^ M main\.ts$/m);
  assertEquals((await run(["test", "-e", `${root}/dist/release`])).code, 1);
  const { code: usage, output: message } = await release(root, "--arch=sparc");
  assertEquals([usage, message.includes("--arch must be x86_64 or aarch64, not sparc")], [2, true]);
});
