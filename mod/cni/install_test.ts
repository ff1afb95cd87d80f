import { assertEquals, assertRejects } from "@std/assert";
import { ExportError } from "../export/errors.ts";
import { installPlugin, uninstallPlugin } from "./install.ts";

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(`${directory}/cni/bin`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("installPlugin() makes a link, and uninstallPlugin() removes it", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/flannel`;
    const install = () => installPlugin(directory, "/usr/bin/flanneld", false);
    assertEquals(await install(), `made ${path}, a link to /usr/bin/flanneld`);
    assertEquals(await Deno.readLink(path), "/usr/bin/flanneld");
    assertEquals(await install(), `${path} is a link to /usr/bin/flanneld already`);
    assertEquals(await uninstallPlugin(directory, "/usr/bin/flanneld"), `removed ${path}`);
    assertEquals(await uninstallPlugin(directory, "/usr/bin/flanneld"), `${path} does not exist`);
    assertEquals([...Deno.readDirSync(directory)], []);
  }));

Deno.test("installPlugin() and uninstallPlugin() keep another plugin, unless the caller replaces it", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/flannel`;
    await Deno.mkdir(directory, { recursive: true });
    await Deno.writeTextFile(path, "upstream");
    await assertRejects(
      () => installPlugin(directory, "/usr/bin/flanneld", false),
      ExportError,
      `${path} is another plugin; give -force to replace it`,
    );
    await assertRejects(() => uninstallPlugin(directory, "/usr/bin/flanneld"), ExportError);
    assertEquals(await Deno.readTextFile(path), "upstream");
    await installPlugin(directory, "/usr/bin/flanneld", true);
    assertEquals(await Deno.readLink(path), "/usr/bin/flanneld");
    await assertRejects(
      () => uninstallPlugin(directory, "/usr/local/bin/flanneld"),
      ExportError,
      `${path} is a link to /usr/bin/flanneld; kept it`,
    );
  }));
