import { assertEquals, assertThrows } from "@std/assert";
import { commitOf, embeddedPaths, findStowaway } from "./compile.ts";

const LOG = `Compile file:///stage/main.ts to flanneld

Embedded Files

flanneld
├── main.ts (131B)
├─┬ mod (10KB)
│ ├── config/* (10KB)
│ └── version.ts (1KB)
└── npm/* (7.8MB - 7.7MB unique)

Files: 7.81MB
`;

const FILES = ["main.ts", "mod/config/mod.ts", "mod/version.ts", "npm/etcd3/proto/rpc.proto"];

Deno.test("embeddedPaths() reads the tree of deno compile", () => {
  assertEquals(embeddedPaths(LOG), [
    "/main.ts",
    "/mod",
    "/mod/config/*",
    "/mod/version.ts",
    "/npm/*",
  ]);
  assertThrows(() => embeddedPaths("Compile file:///stage/main.ts"), Error, "no embedded files");
});

Deno.test("findStowaway() finds what was not staged", () => {
  assertEquals(findStowaway(LOG, FILES), undefined);
  assertEquals(findStowaway(LOG.replace("── main.ts", "── main_test.ts"), FILES), "/main_test.ts");
  assertEquals(findStowaway(LOG, FILES.slice(0, 3)), "/npm/*");
  assertEquals(
    findStowaway(LOG.replace("npm/*", ".deno_compile_node_modules/*"), FILES),
    "/.deno_compile_node_modules/*",
  );
  // A directory of which the name alone begins like a staged file's.
  assertEquals(findStowaway(LOG.replace("config/*", "conf/*"), FILES), "/mod/conf/*");
});

Deno.test("commitOf() is the commit of a checkout, -dirty after a change, and empty elsewhere", async () => {
  const root = await Deno.makeTempDir();
  try {
    const git = async (...args: string[]) => {
      const identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
      const { stdout } = await new Deno.Command("git", { args: ["-C", root, ...identity, ...args] })
        .output();
      return new TextDecoder().decode(stdout).trim();
    };
    assertEquals(await commitOf(root), "");
    await git("init", "--quiet");
    await Deno.writeTextFile(`${root}/main.ts`, "");
    await Deno.mkdir(`${root}/unpacked`);
    await git("add", "main.ts");
    await git("commit", "--quiet", "--message=first");
    // Named, as a release is.
    await git("tag", "v0.1.0");
    const commit = await git("rev-parse", "HEAD");
    assertEquals(commit.length, 40);
    assertEquals(await commitOf(root), commit);
    assertEquals(await commitOf(`${root}/unpacked`), "");
    await Deno.writeTextFile(`${root}/main.ts`, "// changed");
    assertEquals(await commitOf(root), `${commit}-dirty`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
