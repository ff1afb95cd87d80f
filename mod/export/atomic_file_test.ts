import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { writeFileAtomically } from "./atomic_file.ts";
import { ExportError } from "./errors.ts";

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "atomic-file" });
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const modeOf = async (path: string) => (await Deno.stat(path)).mode! & 0o7777;
const namesIn = (path: string) => Array.from(Deno.readDirSync(path), ({ name }) => name);

Deno.test("writeFileAtomically() makes files 0644 and directories 0755 whatever the umask", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/run/flannel/subnet.env`;
    const module = new URL("atomic_file.ts", import.meta.url).href;
    // A process of its own: the umask belongs to the process, and tests run side by side.
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `import { writeFileAtomically } from ${JSON.stringify(module)};
         Deno.umask(0o077);
         await writeFileAtomically(${JSON.stringify(path)}, "text");`,
      ],
    }).output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    assertEquals(await Deno.readTextFile(path), "text");
    assertEquals(await modeOf(path), 0o644);
    assertEquals(await modeOf(`${directory}/run/flannel`), 0o755);
    assertEquals(await modeOf(`${directory}/run`), 0o755);
  }));

Deno.test("writeFileAtomically() leaves directories that are there as they are", () =>
  inDirectory(async (directory) => {
    await Deno.chmod(directory, 0o700);
    await writeFileAtomically(`${directory}/file`, "text");
    assertEquals(await modeOf(directory), 0o700);
  }));

Deno.test("writeFileAtomically() replaces the file and never changes the old one", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/file`;
    await writeFileAtomically(path, "old");
    const before = await Deno.open(path);
    await writeFileAtomically(path, "new and longer");
    assertEquals(await new Response(before.readable).text(), "old");
    assertEquals(await Deno.readTextFile(path), "new and longer");
    assertEquals(namesIn(directory), ["file"]);
  }));

Deno.test("writeFileAtomically() shows readers the old text or the new one, never a part", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/file`;
    const texts = ["a".repeat(300_000), "b".repeat(200_000)];
    await writeFileAtomically(path, texts[0]!);
    let writing = true;
    const reader = (async () => {
      let reads = 0;
      for (; writing; reads++) {
        assertEquals(texts.includes(await Deno.readTextFile(path)), true, "a part was read");
      }
      return reads;
    })();
    for (let i = 0; i < 30; i++) await writeFileAtomically(path, texts[i % 2]!);
    writing = false;
    assertEquals(await reader > 5, true);
  }));

Deno.test("writeFileAtomically() writes through a link", () =>
  inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "old");
    await Deno.symlink("file", `${directory}/link`);
    await writeFileAtomically(`${directory}/link`, "new");
    assertEquals((await Deno.lstat(`${directory}/link`)).isSymlink, true);
    assertEquals(await Deno.readTextFile(`${directory}/file`), "new");
  }));

Deno.test("writeFileAtomically() names the failed file and the reason, and leaves nothing behind", () =>
  inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    const error = await assertRejects(
      () => writeFileAtomically(`${directory}/file/out`, "text"),
      ExportError,
    );
    assertStringIncludes(error.message, `cannot write ${directory}/file/out: `);
    assertStringIncludes(error.message, "(os error 20)"); // ENOTDIR
    await assertRejects(() => writeFileAtomically(directory, "text"), ExportError);
    assertEquals(namesIn(directory), ["file"]);
  }));

Deno.test("writeFileAtomically() gives up where a directory cannot come to be", () =>
  inDirectory(async (directory) => {
    await Deno.symlink(`${directory}/nowhere/at/all`, `${directory}/link`);
    for (const path of ["/proc/nothing/subnet.env", `${directory}/link/below/subnet.env`]) {
      await assertRejects(() => writeFileAtomically(path, "text"), ExportError);
    }
  }));
