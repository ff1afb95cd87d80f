import { assertEquals } from "@std/assert";
import { Namespace } from "./firewall/firewall_namespace.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SCRIPT = `${ROOT}scripts/mk-docker-opts.sh`;
const COMMANDS: [name: string, command: string[]][] = [
  ["mk-docker-opts.sh under dash", ["dash", SCRIPT]],
  ["mk-docker-opts.sh under bash", ["bash", SCRIPT]],
  ["mk-docker-opts.sh under bash --posix", ["bash", "--posix", SCRIPT]],
  ["mk-docker-opts.sh under busybox sh", ["busybox", "sh", SCRIPT]],
  [
    "flanneld docker-opts",
    [Deno.execPath(), "run", "-A", "--no-check", `${ROOT}main.ts`, "docker-opts"],
  ],
];

Deno.test("docker options are written, then a route to our subnet by another host is an error", async (t) => {
  await using namespace = await Namespace.make();
  await namespace.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
  await namespace.run("ip", "address", "add", "192.168.9.9/24", "dev", "v0");
  for (const device of ["v0", "v1"]) await namespace.run("ip", "link", "set", device, "up");
  const directory = await Deno.makeTempDir({ prefix: "docker-opts" });
  try {
    const write = async (command: readonly string[], subnet: string) => {
      await Deno.writeTextFile(`${directory}/subnet.env`, `FLANNEL_SUBNET=${subnet}\n`);
      const [program, ...args] = [...namespace.prefix, ...command];
      const { code, stderr } = await new Deno.Command(program, {
        args: [...args, "-c", "-f", `${directory}/subnet.env`, "-d", `${directory}/out`],
      }).output();
      assertEquals(
        await Deno.readTextFile(`${directory}/out`),
        `DOCKER_OPTS=" --bip=${subnet}"\n`,
      );
      return { code, stderr: new TextDecoder().decode(stderr).trimEnd() };
    };
    for (const [name, command] of COMMANDS) {
      await t.step(name, async () => {
        const good = { code: 0, stderr: "" };
        await namespace.run("ip", "route", "replace", "10.1.74.0/24", "dev", "v0");
        assertEquals(await write(command, "10.1.74.1/24"), good, "a route over a device");
        await namespace.run("ip", "route", "replace", "10.1.0.0/16", "via", "192.168.9.2");
        assertEquals(await write(command, "10.1.74.1/24"), good, "a route to a larger prefix");
        await namespace.run("ip", "route", "replace", "10.1.74.0/24", "via", "192.168.9.2");
        assertEquals(await write(command, "10.1.74.1/24"), {
          code: 1,
          // A program of many subcommands names itself, the script does not.
          stderr: (name === "flanneld docker-opts" ? "flanneld: " : "") +
            "Your routing table already contains the subnet: " +
            "10.1.74.0/24 via 192.168.9.2 dev v0",
        });
        await namespace.run("ip", "route", "replace", "10.1.76.64/26", "via", "192.168.9.2");
        assertEquals((await write(command, "10.1.76.65/26")).code, 1, "a subnet inside an octet");
        assertEquals(await write(command, "10.1.76.129/26"), good, "its neighbour");
      });
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
