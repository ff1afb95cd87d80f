/**
 * Runs tests on kernels of Debian's in a VM: `deno task test:vm [VERSION|all] [TEST...]`.
 *
 * VERSION is 5.10, 6.1, 6.12 (the default) or newest. TEST is an argument of `deno test`; the default is the tests of
 * netlink events, of ipip and of modules. Files of tests/vm/boots run in a VM that has the package and boots systemd,
 * one file a boot. With `all` each kernel runs each of the TESTs in a VM of its own, by default all that
 * docs/support.md reports on. The last lines are a table of kernels and tests. Needs root; the labs need
 * dist/flanneld. The kernels stay in .cache/vm.
 *
 * @module
 */
import { Shutdown } from "../../mod/cli/shutdown.ts";
import { projectRoot } from "../../scripts/checks/module_graph.ts";
import { run } from "../lab/command.ts";
import { runInVm } from "./boot.ts";
import { fetchKernel, type Release, RELEASES } from "./kernel.ts";
import { reboot } from "./reboot.ts";

/**
 * Calls of `deno test` in one VM: modules, while none is loaded; then netlink events, which differ between kernels, and
 * ipip, which a kernel may lack.
 */
const TESTS: Area = [
  // The lines about a missing vxlan, ipip or tun are left to `all`.
  ["--filter=/^host-gw|loads/", "tests/vm/cases/modules.ts"],
  [
    "--filter=/^(vxlan|monitor|ipip)/",
    "tests/vm/cases/ipip.ts",
    "tests/kernel/vxlan/vxlan_repair_test.ts",
    "tests/kernel/netlink/netlink_test.ts",
  ],
];

/** Calls of `deno test` in one VM, or one for each boot of it, each with its arguments. */
type Area = readonly (readonly string[])[];

/** Tests of a VM that boots systemd: one file a boot, on one disk. */
const BOOTS = "tests/vm/boots/";

/** Rows of the table that `all` prints: each with its calls of `deno test`. */
const AREAS: readonly Area[] = [
  [["tests/kernel/vxlan/"]],
  [["tests/kernel/host_gw_test.ts"]],
  [["tests/vm/cases/ipip.ts"]],
  [["tests/kernel/udp/udp_test.ts"]],
  [["tests/kernel/udp/udp_decapsulate_test.ts"]],
  [["tests/kernel/udp/udp_kernel_test.ts"]],
  [["tests/kernel/netlink/netlink_test.ts"]],
  [["tests/kernel/netlink/bpf_test.ts"]],
  [["tests/kernel/firewall/firewall_test.ts"]],
  [["tests/kernel/firewall/nftables_test.ts"]],
  [["tests/vm/cases/modules.ts"]],
  [["tests/vm/cases/loss.ts"]],
  [["tests/vm/cases/wireguard.ts"]],
  [["tests/e2e/guide_test.ts"]],
  [["tests/e2e/repair_test.ts"]],
  [["tests/e2e/backends/udp_kernel_test.ts"]],
  [[`${BOOTS}started.ts`], [`${BOOTS}restarted.ts`]],
];

/** Of one VM, in milliseconds; the default tests take two minutes. */
const LIMIT = 7_200_000;

/** Exit code of a shell's command that SIGINT, 2, has ended. */
const INTERRUPTED = 130;

/** Exit code of a shell's command that SIGSEGV, 11, has ended: 128 and its number. */
const CRASH = 139;

/** Begin of the line that `deno test` ends with. */
const RESULT = /^(?:ok|FAILED) \| (\d+) passed.*?\| (\d+) failed/;

const root = projectRoot();
const shutdown = new Shutdown();
const [version = "6.12", ...tests] = Deno.args;
const isAll = version === "all";
const releases = RELEASES.filter((one) => isAll || one.version === version);
if (releases.length === 0) {
  const known = RELEASES.map((one) => one.version).join(", ");
  console.error(`test:vm: unknown kernel "${version}": expected all, or one of ${known}`);
  Deno.exit(2);
}
const areas = tests.length > 0
  ? isAll ? tests.map(areaOf) : [callsOf(tests)]
  : isAll
  ? AREAS
  : [TESTS];
Deno.exit(await runAreas(areas, releases));

/** Returns the row of that name, or the test alone. */
function areaOf(test: string): Area {
  return AREAS.find((area) => nameOf(area) === test) ?? [[test]];
}

/** Calls of `deno test` with these arguments: one, or one for each boot. */
function callsOf(words: readonly string[]): Area {
  return words[0]!.startsWith(BOOTS) ? words.map((word) => [word]) : [words];
}

/** The tests' paths. */
function nameOf(area: Area): string {
  return area.flat().filter((word) => !word.startsWith("--")).join(" ");
}

/** Runs every area on every kernel, and prints a table of passed and failed tests. @returns the exit code */
async function runAreas(areas: readonly Area[], releases: typeof RELEASES): Promise<number> {
  const rows = [["", ...releases.map((one) => one.version)]];
  let worst = 0;
  for (const area of areas) {
    const row = [nameOf(area)];
    for (const release of releases) {
      try {
        const { code, result } = await test(release, area);
        worst ||= code;
        row.push(result ?? `exit ${code}`);
      } catch (error) {
        if (shutdown.signal.aborted) return INTERRUPTED;
        worst = 1;
        console.error((error as Error).message);
        row.push("no result");
      }
    }
    rows.push(row);
  }
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
  return worst;
}

/** Runs tests on a kernel. @returns the exit code of `deno test`, and its result: `9`, or `7, 2 failed` */
async function test(
  release: Release,
  area: Area,
): Promise<{ code: number; result: string | undefined }> {
  const kernel = await fetchKernel(release, `${root}/.cache/vm`);
  console.log(`Linux ${kernel.release}`);
  // The VM has no network.
  await run([Deno.execPath(), "test", "--no-run", "--no-check", ...area.flat()], { cwd: root });
  let passed = 0;
  let failed = 0;
  const vm = {
    ...{ kernel, directory: root },
    signal: AbortSignal.any([shutdown.signal, AbortSignal.timeout(LIMIT)]),
    onLine: (line: string) => {
      console.log(line);
      const result = RESULT.exec(line);
      passed += Number(result?.[1] ?? 0);
      failed += Number(result?.[2] ?? 0);
    },
  };
  const commands = area.map(commandOf);
  const code = area[0]![0]!.startsWith(BOOTS)
    ? await reboot(root, { ...vm, commands })
    : await runInVm({ ...vm, command: inTurn(commands) });
  if (passed + failed === 0) return { code, result: undefined };
  // Deno 2.9.6 crashed in the VM at its own exit, with all tests passed and their result printed.
  const isCrashAtExit = code === CRASH && failed === 0;
  return {
    code: isCrashAtExit ? 0 : code,
    result: failed === 0 ? `${passed}` : `${passed}, ${failed} failed`,
  };
}

/** Returns the VM's command, without colors for the result. */
function commandOf(words: readonly string[]): string {
  return [
    "export NO_COLOR=1",
    `cd ${quote(root)} && ${
      quote(Deno.execPath())
    } test -A --no-check --unstable-net --cached-only ${words.map(quote).join(" ")}`,
  ].join("\n");
}

/** Returns a command that runs all, and fails with the code of the last that failed. */
function inTurn(commands: readonly string[]): string {
  return [...commands.map((command) => `(${command}) || code=$?`), "exit ${code-0}"].join("\n");
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
