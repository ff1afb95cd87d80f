import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { configureLog } from "../observe/log/log.ts";
import { formatSubnetEnv, readSubnetEnv, writeSubnetEnv } from "./subnet_env.ts";

const prefix = (text: string) => Prefix.parse(text)!;

/** Reads a file of that text back, with the log lines it causes. */
async function readBack(text: string | undefined) {
  const directory = await Deno.makeTempDir({ prefix: "subnet-env" });
  const lines: string[] = [];
  configureLog({ write: (line) => lines.push(line.replace(/^.*?\] /, "").replace(directory, "")) });
  try {
    if (text !== undefined) await Deno.writeTextFile(`${directory}/subnet.env`, text);
    return { previous: await readSubnetEnv(`${directory}/subnet.env`), lines };
  } finally {
    configureLog({ write: (line) => Deno.stderr.writeSync(new TextEncoder().encode(line)) });
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("formatSubnetEnv() writes flannel's four lines byte for byte", () => {
  assertEquals(
    formatSubnetEnv({
      network: prefix("10.20.0.0/16"),
      subnet: prefix("10.20.48.0/24"),
      mtu: 1450,
      ipMasq: true,
    }),
    "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.48.1/24\nFLANNEL_MTU=1450\n" +
      "FLANNEL_IPMASQ=true\n",
  );
  assertEquals(
    formatSubnetEnv({
      network: prefix("255.0.0.0/8"),
      subnet: prefix("255.255.255.248/29"),
      mtu: 1472,
      ipMasq: false,
    }),
    "FLANNEL_NETWORK=255.0.0.0/8\nFLANNEL_SUBNET=255.255.255.249/29\nFLANNEL_MTU=1472\n" +
      "FLANNEL_IPMASQ=false\n",
  );
});

Deno.test("readSubnetEnv() reads back network and subnet that writeSubnetEnv() wrote", async () => {
  const directory = await Deno.makeTempDir({ prefix: "subnet-env" });
  try {
    const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    const length = fc.integer({ min: 1, max: 30 });
    await fc.assert(
      fc.asyncProperty(address, length, length, async (address, a, b) => {
        const env = {
          network: new Prefix(address, Math.min(a, b)),
          subnet: new Prefix(address, Math.max(a, b)),
          mtu: 1450,
          ipMasq: false,
        };
        await writeSubnetEnv(`${directory}/subnet.env`, env);
        const { network, subnet } = await readSubnetEnv(`${directory}/subnet.env`);
        assertEquals([`${network}`, `${subnet}`], [`${env.network}`, `${env.subnet}`]);
      }),
      { numRuns: 20 },
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("readSubnetEnv() understands quotes and export", async () => {
  const { previous, lines } = await readBack(
    `export FLANNEL_NETWORK="10.20.0.0/16"\nFLANNEL_SUBNET='10.20.48.1/24' # comment\n`,
  );
  assertEquals(`${previous.network} ${previous.subnet}`, "10.20.0.0/16 10.20.48.0/24");
  assertEquals(lines, []);
});

Deno.test("readSubnetEnv() takes the one valid member of a list", async () => {
  const { previous, lines } = await readBack("FLANNEL_SUBNET=none,10.20.48.1/24,\n");
  assertEquals(`${previous.subnet}`, "10.20.48.0/24");
  assertEquals(previous.network, undefined);
  assertEquals(lines, []);
});

Deno.test("readSubnetEnv() ignores, with a warning, what is not exactly one subnet", async () => {
  for (const value of ["none", "10.20.48.1", "10.20.48.1/24,10.20.49.1/24"]) {
    const { previous, lines } = await readBack(`FLANNEL_SUBNET=${value}\n`);
    assertEquals(previous, {});
    assertEquals(lines, [
      `ignoring FLANNEL_SUBNET=${value} in /subnet.env: expected one subnet such as 10.20.48.1/24\n`,
    ]);
  }
});

Deno.test("readSubnetEnv() finds nothing in a file that is missing or empty, and is silent", async () => {
  assertEquals(await readBack(undefined), { previous: {}, lines: [] });
  assertEquals(await readBack(""), { previous: {}, lines: [] });
  assertEquals(await readBack("FLANNEL_SUBNET=\n"), { previous: {}, lines: [] });
});

Deno.test("readSubnetEnv() warns of a file it cannot read", async () => {
  const lines: string[] = [];
  configureLog({ write: (line) => lines.push(line.replace(/^.*?\] /, "")) });
  try {
    assertEquals(await readSubnetEnv("/proc"), {});
  } finally {
    configureLog({ write: (line) => Deno.stderr.writeSync(new TextEncoder().encode(line)) });
  }
  assertEquals(lines, [
    "cannot read the previous subnet from /proc: Is a directory (os error 21)\n",
  ]);
});
