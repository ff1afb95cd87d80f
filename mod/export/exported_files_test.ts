import { assertEquals } from "@std/assert";
import { findExportedFiles } from "./exported_files.ts";

const SUBNET_ENV = "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\n";
const DOCKER = 'DOCKER_NETWORK_OPTIONS=" --bip=10.20.93.1/24 --mtu=1450"\n';

/** Returns the files found beside a subnet.env with this text, by name. */
async function find(files: Record<string, string>): Promise<Record<string, string | undefined>> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${directory}/${name}`, text);
    }
    const found = await findExportedFiles(
      `${directory}/subnet.env`,
      `${directory}/docker_opts.env`,
    );
    return Object.fromEntries(
      found.map(({ path, foreign }) => [path.slice(directory.length + 1), foreign]),
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("findExportedFiles() finds what the agent and mk-docker-opts.sh wrote, subnet.env last", async () => {
  const found = await find({
    "subnet.env": SUBNET_ENV,
    "docker": DOCKER,
    "docker_opts.env": 'DOCKER_OPT_BIP="--bip=10.20.93.1/24"\nDOCKER_OPTS=" --bip=10.20.93.1/24"\n',
    "other": DOCKER,
  });
  assertEquals(Object.keys(found), ["docker", "docker_opts.env", "subnet.env"]);
  assertEquals(Object.values(found), [undefined, undefined, undefined]);
});

Deno.test("findExportedFiles() names why flanneld did not write a file for Docker", async () => {
  const foreign = "it does not have --bip=10.20.93.1/24 in variables and nothing else";
  for (
    const docker of [
      'DOCKER_OPTS="--bip=10.9.9.1/24"\n',
      'DOCKER_OPTS="--bip=10.20.93.1/245"\n',
      'DOCKER_OPTS="--x--bip=10.20.93.1/24"\n',
      `${DOCKER}# mine\n`,
      `${DOCKER}rm -rf /\n`,
      "",
    ]
  ) {
    assertEquals(await find({ "subnet.env": SUBNET_ENV, docker }), {
      docker: foreign,
      "subnet.env": undefined,
    });
  }
});

Deno.test("findExportedFiles() finds nothing without subnet.env", async () => {
  assertEquals(await find({ docker: DOCKER }), {});
});

Deno.test("findExportedFiles() leaves a file alone that is no subnet.env", async () => {
  assertEquals(await find({ "subnet.env": "PATH=/bin\n", docker: DOCKER }), {
    "subnet.env": "it has no FLANNEL_SUBNET, so flannel did not write it",
  });
});
