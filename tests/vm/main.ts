/**
 * Runs tests on a kernel of Debian's in a VM: `deno task test:vm [VERSION] [TEST...]`.
 *
 * VERSION is 5.10, 6.1, 6.12 (the default) or newest. TEST is an argument of `deno test`; the default is the tests of
 * netlink events and of ipip. Needs root. The kernel stays in .cache/vm.
 *
 * @module
 */
import { projectRoot } from "../../scripts/checks/module_graph.ts";
import { run } from "../lab/command.ts";
import { runInVm } from "./boot.ts";
import { fetchKernel, RELEASES } from "./kernel.ts";

/** Tests of netlink events, which differ between kernels, and of backends whose modules a kernel may lack. */
const TESTS = [
  "--filter=/^(vxlan|monitor|ipip)/",
  "tests/vm/cases/ipip.ts",
  "tests/kernel/vxlan/vxlan_repair_test.ts",
  "tests/kernel/netlink/netlink_test.ts",
];

/** Milliseconds; the default tests take one minute. */
const LIMIT = 900_000;

const [version = "6.12", ...tests] = Deno.args;
const release = RELEASES.find((one) => one.version === version);
if (release === undefined) {
  const known = RELEASES.map((one) => one.version).join(", ");
  console.error(`test:vm: unknown kernel "${version}": expected one of ${known}`);
  Deno.exit(2);
}
const root = projectRoot();
const kernel = await fetchKernel(release, `${root}/.cache/vm`);
console.log(`Linux ${kernel.release}`);
const words = tests.length > 0 ? tests : TESTS;
// The VM has no network.
await run([Deno.execPath(), "cache", ...words.filter((word) => word.endsWith(".ts"))], {
  cwd: root,
});
const environment = ["NO_COLOR"].flatMap((name) => {
  const value = Deno.env.get(name);
  return value === undefined ? [] : [`export ${name}=${quote(value)}`];
});
const command = [
  ...environment,
  `cd ${quote(root)} && exec ${
    quote(Deno.execPath())
  } test -A --no-check --unstable-net --cached-only ${words.map(quote).join(" ")}`,
].join("\n");
const signal = AbortSignal.timeout(LIMIT);
Deno.exit(await runInVm({ kernel, command, signal, onLine: (line) => console.log(line) }));

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
