import { assert, assertEquals, assertRejects } from "@std/assert";
import { ExportError } from "../../export/errors.ts";
import { type AgentSubcommand, parseAgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { BARE_HOST, etcdOf } from "../testing/options_lab.ts";

const SUBCOMMAND: AgentSubcommand = {
  name: "tidy",
  summary: "Tidies up.",
  flags: [{ name: "dry-run", kind: "bool", help: "only print" }],
  exitCodes: { 0: "always" },
};

/** Reads a command line that asks for no help text. */
async function parse(args: readonly string[], environment: Record<string, string>) {
  const line = await parseAgentSubcommand(SUBCOMMAND, args, environment, BARE_HOST);
  if ("help" in line) throw new Error(line.help);
  return line;
}

async function withSysconfig(text: string, body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("parseAgentSubcommand() takes the agent's flags and its own", async () => {
  const line = await parse(
    ["-iface=eth1", "--dry-run", "-subnet-file", "/tmp/x.env"],
    { FLANNELD_ETCD_PREFIX: "/a" },
  );
  assertEquals(line.own, new Map([["dry-run", true]]));
  assertEquals(line.agent.options.interface.ifaces, ["eth1"]);
  assertEquals(line.agent.options.subnetFile, "/tmp/x.env");
  assertEquals(etcdOf(line.agent.options).prefix, "/a");
});

Deno.test("parseAgentSubcommand() reads the sysconfig file behind the environment", () =>
  withSysconfig(
    '# etcd\nFLANNEL_ETCD_PREFIX="/from-file"\nFLANNEL_ETCD_ENDPOINTS="http://a:1"\n' +
      'FLANNEL_OPTIONS="-iface=eth1"\nDENO_DIR=/x\n',
    async (path) => {
      const line = await parse([`-sysconfig=${path}`], {
        FLANNEL_ETCD_PREFIX: "/from-environment",
      });
      const { options } = line.agent;
      assertEquals(etcdOf(options).prefix, "/from-environment");
      assertEquals(etcdOf(options).endpoints, ["http://a:1"]);
      assertEquals(options.interface.ifaces, ["eth1"]);
    },
  ));

Deno.test("parseAgentSubcommand() refuses a sysconfig file that was given and is not there", async () => {
  const error = await assertRejects(
    () => parseAgentSubcommand(SUBCOMMAND, ["-sysconfig=/no/such"], {}),
    ExportError,
  );
  assertEquals(error.message, "cannot read /no/such: No such file or directory (os error 2)");
});

Deno.test("parseAgentSubcommand() refuses what is no flag", async () => {
  const unknown = await assertRejects(
    () => parseAgentSubcommand(SUBCOMMAND, ["-dry-rum"], {}),
    UsageError,
  );
  assertEquals(unknown.message, "flag provided but not defined: -dry-rum");
  const word = await assertRejects(
    () => parseAgentSubcommand(SUBCOMMAND, ["now"], {}),
    UsageError,
  );
  assertEquals(word.message, 'unexpected argument "now" after the flags');
  assertEquals(word.hint, "Run 'flanneld tidy -h' for its flags.");
});

Deno.test("parseAgentSubcommand() gives a help text of 80 columns", async () => {
  for (const flag of ["-h", "--help", "-help"]) {
    const line = await parseAgentSubcommand(SUBCOMMAND, [flag], {});
    if (!("help" in line)) throw new Error("no help text");
    assert(line.help.startsWith("Usage: flanneld tidy [flags]\n\nTidies up.\n\n  -dry-run\n"));
    for (const text of line.help.split("\n")) assert(text.length <= 80, text);
  }
});

Deno.test("parseAgentSubcommand() takes operands before, between and after flags", async () => {
  const subcommand: AgentSubcommand = {
    ...SUBCOMMAND,
    operands: { usage: "FILE [FILE]", help: "what to tidy", count: [1, 2] },
  };
  const parse = async (...args: string[]) => {
    const line = await parseAgentSubcommand(subcommand, args, {});
    return "help" in line ? line.help : [line.operands, [...line.own.keys()]];
  };
  assertEquals(await parse("a", "-dry-run", "-"), [["a", "-"], ["dry-run"]]);
  assertEquals(await parse("-dry-run", "--", "-dry-run"), [["-dry-run"], ["dry-run"]]);
  await assertRejects(() => parse(), UsageError, "tidy needs FILE [FILE]: what to tidy");
  await assertRejects(() => parse("a", "b", "c"), UsageError, 'unexpected argument "c"');
  await assertRejects(() => parse("a", "-dry"), UsageError, "not defined: -dry");
  const help = await parse("a", "-h") as string;
  assert(help.startsWith("Usage: flanneld tidy [flags] FILE [FILE]\n"), help);
});

Deno.test("parseAgentSubcommand() points to the subcommand's help text for a flag that is none", async () => {
  const { spec } = await import("./cleanup.ts");
  const error = await assertRejects(() => parseAgentSubcommand(spec, ["-dryrun"], {}), UsageError);
  assertEquals(
    error.hint,
    "Did you mean -dry-run? Run 'flanneld cleanup -help' for the list of flags.",
  );
});

Deno.test("parseAgentSubcommand() names the values of a flag that has none, or a wrong one", async () => {
  const { spec } = await import("./status.ts");
  const refused = async (...args: string[]) => {
    const { message, hint } = await assertRejects(
      () => parseAgentSubcommand(spec, args, {}),
      UsageError,
    );
    return [message, hint];
  };
  assertEquals(await refused("-peers"), [
    "flag needs an argument: -peers: expected peers to list, or all (default 1000)",
    undefined,
  ]);
  const [wrong, hint] = await refused("-json=often");
  assertEquals([wrong?.endsWith(": expected true or false"), hint], [true, undefined], wrong);
  assertEquals((await refused("-iface"))[0], "flag needs an argument: -iface: expected name-or-ip");
});
