import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSION } from "../../../mod/version.ts";

const EXECUTABLE = decodeURI(new URL("../../../dist/flanneld", import.meta.url).pathname);

/** Runs `test` on a directory that holds the executable and the libraries it is linked with. */
async function withBareTree(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    const { stdout } = await new Deno.Command("ldd", { args: [EXECUTABLE] }).output();
    const libraries = new TextDecoder().decode(stdout).match(/(?<=[\t ])\/\S+/g) ?? [];
    for (const library of libraries) {
      await Deno.mkdir(`${root}${library}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.copyFile(library, `${root}${library}`);
    }
    await Deno.copyFile(EXECUTABLE, `${root}/flanneld`);
    // The one thing an executable of Deno's needs of the system: it reads itself by way of it.
    await Deno.mkdir(`${root}/proc`);
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Runs the executable with the directory for its root, in a mount namespace of its own. */
async function runIn(root: string, args: readonly string[]) {
  const script = 'mount -t proc proc "$0/proc" && exec chroot "$0" /flanneld "$@"';
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["--mount", "sh", "-c", script, root, ...args],
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("dist/flanneld is all that a host with libc needs", async () => {
  await withBareTree(async (root) => {
    const files: string[] = [];
    const walk = (path: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(path)) {
        if (isDirectory) walk(`${path}/${name}`);
        else files.push(name);
      }
    };
    walk(root);
    // glibc's parts, its loader, and the unwinder of the compiler's run-time library.
    const glibc = /^(ld-linux-.*|lib(c|m|dl|rt|pthread|gcc_s))\.so\.\d+$/;
    assertEquals(files.filter((name) => !glibc.test(name)), ["flanneld"]);

    const { code, output } = await runIn(root, ["-version"]);
    assertEquals(code, 0, output);
    assertMatch(output, /^\S*\d+\.\d+\.\d+\S*\n$/);
  });
});

Deno.test("dist/flanneld knows an unknown flag without anything beside it", async () => {
  await withBareTree(async (root) => {
    const { code, output } = await runIn(root, ["-nosuch"]);
    assertEquals(code, 2, output);
    assert(output.includes("flag provided but not defined: -nosuch"), output);
  });
});

Deno.test("dist/flanneld version -json names the commit and the target that it was compiled for", async () => {
  const { success, stdout } = await new Deno.Command(EXECUTABLE, { args: ["version", "-json"] })
    .output();
  assert(success);
  const { version, name, release, commit, deno, target } = JSON.parse(
    new TextDecoder().decode(stdout),
  );
  assertEquals([version, name, release, target], [1, "flanneld", VERSION, Deno.build.target]);
  assertMatch(commit, /^[0-9a-f]{40}(-dirty)?$/);
  assertMatch(deno, /^\d+\.\d+\.\d+$/);
});
