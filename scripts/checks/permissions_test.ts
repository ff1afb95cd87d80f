/**
 * Checks SECURITY.md's statements on Deno's permissions against the runtime: if one of these fails, the
 * executable can have fewer of them, and should.
 */
import { assertEquals } from "@std/assert";
import { isTestFile } from "./import_rules.ts";
import { listSources, projectRoot } from "./module_graph.ts";

async function evaluate(code: string, ...permissions: string[]): Promise<string> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${dir}/probe.ts`,
      `try { console.log(String(${code})); } catch (e) { console.log((e as Error).name); }`,
    );
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", "--no-config", ...permissions, `${dir}/probe.ts`],
      env: { NO_COLOR: "1" },
    }).output();
    return new TextDecoder().decode(stdout).trim();
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const DLOPEN = 'Deno.dlopen("libc.so.6", {getpid: {parameters: [], result: "i32"}})' +
  ".symbols.getpid() === Deno.pid";
const POINTER = "Deno.UnsafePointer.of(new Uint8Array(64)) !== null";

Deno.test("Deno's FFI cannot be narrowed to libc", async () => {
  assertEquals(await evaluate(DLOPEN, "--allow-ffi=libc.so.6"), "Error");
  assertEquals(await evaluate(POINTER, "--allow-ffi=libc.so.6"), "NotCapable");
  assertEquals(await evaluate(DLOPEN, "--allow-ffi"), "true");
  assertEquals(await evaluate(POINTER, "--allow-ffi"), "true");
});

Deno.test("Deno opens files of the kernel to nobody with less than all permissions", async () => {
  const each = ["read", "write", "net", "env", "run", "sys", "ffi"]
    .map((name) => `--allow-${name}`);
  for (
    const path of [
      "/proc/sys/kernel/random/boot_id",
      "/proc/self/mountinfo",
      "/sys/devices/system/cpu/possible",
    ]
  ) {
    const code = `Deno.readTextFileSync(${JSON.stringify(path)}).length > 0`;
    assertEquals(await evaluate(code, ...each), "NotCapable", path);
    assertEquals(await evaluate(code, "--allow-all"), "true", path);
  }
});

Deno.test("libc.ts and openssl.ts alone load libraries", async () => {
  const root = projectRoot();
  const files = await listSources(root, ["main.ts", "mod", "backends"]);
  const loading: string[] = [];
  for (const file of files.filter((file) => !isTestFile(file))) {
    if ((await Deno.readTextFile(`${root}/${file}`)).includes("Deno.dlopen")) loading.push(file);
  }
  assertEquals(loading.sort(), ["mod/sys/ffi/libc.ts", "mod/sys/tls/openssl.ts"]);
});
