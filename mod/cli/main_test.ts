import { assertEquals, assertMatch } from "@std/assert";
import { basename } from "node:path/posix";
import { makeCertificates } from "../../tests/lab/certificates.ts";
import { removePublishedOptions } from "../agent/host/published_options.ts";
import { VERSION } from "../version.ts";
import { helpText } from "./help/help.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function flanneld(args: readonly string[], environment: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", MAIN, ...args],
    env: { NO_COLOR: "1", ...environment },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Gives an agent a directory for its subnet file, and removes what it leaves there and under /run/flannel. */
async function withDirectory(
  body: (directory: string, subnetFile: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "flanneld" });
  const subnetFile = `${directory}/subnet.env`;
  try {
    await body(directory, subnetFile);
  } finally {
    await removePublishedOptions({ subnetFile });
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("flanneld -version prints the version on standard output", async () => {
  assertEquals(await flanneld(["-version"]), { code: 0, stdout: `${VERSION}\n`, stderr: "" });
});

Deno.test("flanneld version prints name, version, commit, Deno and target, as lines or as JSON", async () => {
  const { deno } = Deno.version;
  const { target } = Deno.build;
  assertEquals(await flanneld(["version"]), {
    code: 0,
    // The sources hold no commit; the executable does (tests/e2e/commands/executable_test.ts).
    stdout: `flanneld ${VERSION}\ncommit   unknown\nDeno     ${deno}\ntarget   ${target}\n`,
    stderr: "",
  });
  const { code, stdout } = await flanneld(["version", "-json"]);
  assertEquals(code, 0);
  assertEquals(JSON.parse(stdout), {
    version: 1,
    name: "flanneld",
    release: VERSION,
    commit: null,
    deno,
    target,
  });
});

Deno.test("flanneld -help and -help=all print the help texts on standard output", async () => {
  const stdout = await Deno.readTextFile(new URL("./help/help_golden.txt", import.meta.url));
  assertEquals(await flanneld(["-help=all"]), { code: 0, stdout, stderr: "" });
  assertEquals(await flanneld(["-help"]), { code: 0, stdout: helpText(), stderr: "" });
});

Deno.test("flanneld exits 2 with the message and a hint on a flag that is none", async () => {
  assertEquals(await flanneld(["-iface-regexp=x"]), {
    code: 2,
    stdout: "",
    stderr: "flanneld: flag provided but not defined: -iface-regexp\n" +
      "Did you mean -iface-regex? Run 'flanneld -help' for the list of flags.\n",
  });
});

Deno.test("flanneld exits 2 on a bad value in the environment", async () => {
  const { code, stderr } = await flanneld([], { FLANNELD_IP_MASQ: "yes" });
  assertEquals(code, 2);
  assertMatch(
    stderr,
    /^flanneld: invalid value "yes" for flag -ip-masq from FLANNELD_IP_MASQ: .*\n$/,
  );
});

Deno.test("config and lease print with -json one object of what they wrote, and the rest on standard error", async () => {
  const directory = await Deno.makeTempDir({ prefix: "flanneld" });
  const store = `embedded store ${directory}/leases.db`;
  const call = async (...args: string[]) => {
    const { code, stdout, stderr } = await flanneld([
      ...args,
      "-json",
      `-store=embedded=${directory}/leases.db`,
    ]);
    assertEquals([code, stderr.includes("flanneld: ")], [0, false], stderr);
    return JSON.parse(stdout);
  };
  const [version, publicIP] = [1, "192.0.2.7"];
  try {
    const config = '{"Network":"10.20.0.0/16"}';
    const written = await call("config", "set", "-yes", config);
    assertEquals([written.changed, written.network], [true, "10.20.0.0/16"]);
    assertEquals((await call("config", "set", "-yes", config)).changed, false);
    const [subnet, other] = ["10.20.7.0/24", "10.20.8.0/24"];
    const reserve = (subnet: string) => call("lease", "reserve", subnet, publicIP);
    assertEquals(await reserve(subnet), { version, store, subnet, publicIP, others: [] });
    assertEquals((await reserve(other)).others, [subnet]);
    assertEquals(await call("lease", "unreserve", other), {
      ...{ version, store, publicIP, subnet: other },
    });
    assertEquals(await call("lease", "evict", "-yes", publicIP), {
      ...{ version, store, publicIP, kept: [subnet] },
      removed: { leases: [other], record: null },
    });
    assertEquals(await call("lease", "release", subnet), { version, store, subnet, publicIP });
    assertEquals(await call("config", "delete", "-yes"), { version, store, changed: true });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("flanneld exits 1 with one line of log when no interface fits", () =>
  withDirectory(async (_, subnetFile) => {
    const args = ["-iface=nosuch", `-subnet-file=${subnetFile}`];
    const { code, stdout, stderr } = await flanneld(args, { FLANNELD_IFCAE: "eth1" });
    assertEquals([code, stdout], [1, ""]);
    const lines = stderr.trimEnd().split("\n");
    assertMatch(lines[0]!, /^W.*\bFLANNELD_IFCAE belongs to no flag.* FLANNELD_IFACE\?$/);
    assertMatch(lines.at(-1)!, /^E\d{4} .* main\.ts:\d+\] .*\bnosuch\b/);
    assertEquals(stderr.includes("    at "), false);
  }));

Deno.test("flanneld trusts the host's certificates, and exits 0 at SIGTERM", () =>
  withDirectory(async (directory, subnetFile) => {
    const { ca, server: { cert, key } } = await makeCertificates(directory);
    const asked = Promise.withResolvers<"asked">();
    await using server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      cert: await Deno.readTextFile(cert),
      key: await Deno.readTextFile(key),
      onListen: () => {},
    }, () => {
      asked.resolve("asked");
      return new Response("404 page not found\n", { status: 404 }); // no etcd, but trusted
    });
    await using child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--no-check", MAIN, "-iface=127.0.0.1"],
        `-subnet-file=${subnetFile}`,
        `-etcd-endpoints=https://127.0.0.1:${server.addr.port}`,
      ],
      // Where OpenSSL and the runtime look for the host's certificates.
      env: { NO_COLOR: "1", SSL_CERT_FILE: ca },
      stderr: "piped",
    }).spawn();
    const output = new Response(child.stderr).text();
    const late = setTimeout(() => child.kill("SIGKILL"), 600_000);
    const first = await Promise.race([asked.promise, child.status]);
    clearTimeout(late);
    if (first !== "asked") throw new Error(await output);
    child.kill("SIGTERM");
    assertEquals(await child.status, { success: true, code: 0, signal: null });
    assertMatch(await output, /\] Exiting\.\.\./);
  }));

Deno.test("flanneld docker-opts writes the file, and fails in one line", async () => {
  const directory = await Deno.makeTempDir({ prefix: "flanneld" });
  try {
    const paths = ["-f", `${directory}/subnet.env`, "-d", `${directory}/docker`];
    await Deno.writeTextFile(paths[1]!, "FLANNEL_MTU=1450\n");
    const call = (...args: string[]) => flanneld(["docker-opts", ...paths, ...args]);
    assertEquals(await call("-c"), { code: 0, stdout: "", stderr: "" });
    assertEquals(await Deno.readTextFile(paths[3]!), 'DOCKER_OPTS=" --mtu=1450"\n');
    assertEquals(await call("-x"), {
      code: 2,
      stdout: "",
      stderr: "flanneld: flag provided but not defined: -x\n" +
        "Run 'flanneld docker-opts -help' for the list of flags.\n",
    });
    await Deno.writeTextFile(paths[1]!, "FLANNEL_IPMASQ=maybe\n");
    assertEquals(await call(), {
      code: 1,
      stdout: "",
      stderr: "flanneld: Invalid value of FLANNEL_IPMASQ: maybe (expected true or false)\n",
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("flanneld docker-opts -h prints its options on standard output", async () => {
  const { code, stdout, stderr } = await flanneld(["docker-opts", "-h"]);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^Usage: flanneld docker-opts \[flags\]\n/);
  for (const option of ["-f", "-d", "-i", "-c", "-k", "-m"]) {
    assertMatch(stdout, new RegExp(`^  ${option}\\b`, "m"));
  }
  assertEquals(/flags of the agent|agent's flags|-sysconfig/.test(stdout), false);
});

/** The modules that a module loads before it runs. */
async function loadedBy(entry: string): Promise<readonly string[]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--no-npm", entry],
  }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
    modules: {
      specifier: string;
      dependencies?: { isDynamic?: boolean; code?: { specifier: string } }[];
    }[];
  };
  const bySpecifier = new Map(modules.map((module) => [module.specifier, module]));
  const loaded = new Set([`file://${entry}`]);
  for (const specifier of loaded) {
    for (const { isDynamic, code } of bySpecifier.get(specifier)?.dependencies ?? []) {
      if (!isDynamic && code !== undefined) loaded.add(code.specifier);
    }
  }
  return [...loaded];
}

Deno.test("flanneld as a CNI plugin loads nothing of the command line", async () => {
  const light = /\/mod\/(cni|ip)\/|\/mod\/(export\/dotenv|lease\/go_json|version)\.ts$/;
  const plugin = new URL("../cni/plugin.ts", import.meta.url).pathname;
  assertEquals((await loadedBy(plugin)).filter((specifier) => !light.test(specifier)), []);
  assertEquals((await loadedBy(MAIN)).map((specifier) => basename(specifier)), [
    "main.ts",
    "plugin_call.ts",
  ]);
});

Deno.test("flanneld -version loads nothing of the agent", async () => {
  const loaded = await loadedBy(new URL("./main.ts", import.meta.url).pathname);
  // The options of the stores, which the flags become; no store.
  const light = /\/main\.ts$|\/mod\/(cli|ip)\/|\/mod\/config\/(errors|nearest)\.ts$/;
  const stores = /\/mod\/store\/(network_name|options|registry|\w+\/driver|etcd\/endpoints)\.ts$/;
  const outside = loaded.filter((specifier) =>
    !light.test(specifier) && !stores.test(specifier) &&
    !specifier.endsWith("/mod/observe/log/printable.ts")
  );
  assertEquals(outside, []);
});
