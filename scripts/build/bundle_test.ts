import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { bundlePackages } from "./bundle.ts";
import { type Lockfile, reduceLockfile } from "../checks/lockfile.ts";
import { projectRoot } from "../checks/module_graph.ts";

/** Bundles packages of this project, at the versions that its lock file has. */
async function bundleInto(output: string, specifiers: readonly string[]) {
  const root = projectRoot();
  const { imports } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`)) as {
    imports: Record<string, string>;
  };
  const used = Object.fromEntries(
    Object.entries(imports).filter(([name]) =>
      specifiers.some((specifier) => `${specifier}/`.startsWith(`${name}/`))
    ),
  );
  const lock = JSON.parse(await Deno.readTextFile(`${root}/deno.lock`)) as Lockfile;
  return await bundlePackages({
    imports: used,
    lock: reduceLockfile(lock, Object.values(used)),
    specifiers,
    output,
  });
}

/** Runs a script in a directory with no packages and no lock file. */
async function runIn(dir: string, script: string): Promise<string> {
  await Deno.writeTextFile(`${dir}/script.js`, script);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-npm", "--no-remote", `${dir}/script.js`],
    env: { NO_COLOR: "1" },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim();
}

Deno.test("bundlePackages() makes modules that do without the packages", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const { modules, chunks, assets, packages } = await bundleInto(dir, [
      "@grpc/grpc-js",
      "etcd3/lib/connection-pool.js",
    ]);
    assertEquals(
      [...modules],
      [
        ["@grpc/grpc-js", "grpc-grpc-js.js"],
        ["etcd3/lib/connection-pool.js", "etcd3-lib-connection-pool.js"],
      ],
    );
    const names = packages.map(({ name }) => name);
    assert(names.includes("protobufjs") && !names.includes("yargs"));
    const etcd3 = packages.find(({ name }) => name === "etcd3")!;
    assertEquals([etcd3.version, etcd3.license, etcd3.texts.length], ["1.1.2", "MIT", 1]);
    assertStringIncludes(etcd3.texts[0]!, "Permission is hereby granted, free of charge");
    for (const file of [...chunks, ...assets]) assert((await Deno.stat(`${dir}/${file}`)).isFile);
    assert(assets.includes("etcd3/proto/rpc.proto") && assets.includes("etcd3/proto/kv.proto"));

    // The client of a service is made of the .proto files, with the gRPC that both entries share.
    const output = await runIn(
      dir,
      `import * as grpc from "./grpc-grpc-js.js";
      import { Host } from "./etcd3-lib-connection-pool.js";
      const host = new Host("127.0.0.1:1", grpc.credentials.createInsecure(), {});
      const client = host.getServiceClient("KV");
      console.log(client instanceof grpc.Client, typeof client.range, grpc.status.NOT_FOUND);
      host.close();`,
    );
    assertEquals(output, "true function 5");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("bundlePackages() keeps default exports", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await bundleInto(dir, ["ip-cidr"]);
    const output = await runIn(
      dir,
      `import IPCIDR from "./ip-cidr.js";
      console.log(new IPCIDR("10.1.2.3/24").start());`,
    );
    assertEquals(output, "10.1.2.0");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("bundlePackages() has nothing to do for a program without packages", async () => {
  const { modules } = await bundleInto("/nonexistent", []);
  assertEquals(modules.size, 0);
});

Deno.test("bundlePackages() reports a module that a package has not", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await assertRejects(() => bundleInto(dir, ["ip-cidr/none.js"]), Error, "none.js");
    assertEquals([...Deno.readDirSync(dir)], []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
