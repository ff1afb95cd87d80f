import { assert, assertEquals, assertRejects } from "@std/assert";
import { FirewallError } from "../../../mod/firewall/mod.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { open, setUpDocker, SPEC, test, type Variant } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";

const MASQ = '-m comment --comment "flanneld masq"';
const FWD = '-m comment --comment "flanneld forward"';

/** flanneld's lines of iptables-save for {@linkcode SPEC}, per table. */
const OURS: Record<string, string[]> = {
  nat: [
    ":FLANNEL-POSTRTG -",
    `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
    `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG -s 10.20.93.0/24 -d 10.20.0.0/16 ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG -s 10.20.0.0/16 -d 10.20.93.0/24 ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG ! -s 10.20.0.0/16 -d 10.20.93.0/24 ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG -s 10.20.0.0/16 ! -d 224.0.0.0/4 ${MASQ} -j MASQUERADE --random-fully`,
    `-A FLANNEL-POSTRTG ! -s 10.20.0.0/16 -d 10.20.0.0/16 ${MASQ} -j MASQUERADE --random-fully`,
  ],
  filter: [
    ":FLANNEL-FWD -",
    `-A FORWARD ${FWD} -j FLANNEL-FWD`,
    `-A FLANNEL-FWD -s 10.20.0.0/16 ${FWD} -j ACCEPT`,
    `-A FLANNEL-FWD -d 10.20.0.0/16 ${FWD} -j ACCEPT`,
  ],
};

/** The three rules of flannel 0.7.1. */
const V0_7_1 = [
  "-s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
  "-s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
  "! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
];

/** The four rules of flannel 0.8 to 0.19, of another network. */
const V0_19 = [
  "-s 10.21.0.0/16 -d 10.21.0.0/16 -j RETURN",
  "-s 10.21.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
  "! -s 10.21.0.0/16 -d 10.21.5.0/24 -j RETURN",
  "! -s 10.21.0.0/16 -d 10.21.0.0/16 -j MASQUERADE --random-fully",
];

/** Lines of iptables-save per table, without counters and comments. */
async function saved(host: Namespace, variant: Variant): Promise<Record<string, string[]>> {
  const tables: Record<string, string[]> = {};
  let lines: string[] = [];
  for (const line of (await host.run(`iptables-${variant}-save`)).split("\n")) {
    if (line.startsWith("*")) lines = tables[line.slice(1)] = [];
    else if (/^(:|-A )/.test(line)) lines.push(line.replace(/ \[\d+:\d+\]$/, ""));
  }
  return tables;
}

/** `before` with our lines where they belong: the chain and its rules last, the jump at the end. */
function withOurs(
  before: Record<string, string[]>,
  own: Record<string, string[]> = OURS,
): Record<string, string[]> {
  const tables = structuredClone(before);
  for (const [table, lines] of Object.entries(own)) tables[table] = [...tables[table]!, ...lines];
  return tables;
}

/** Asserts that two saves are equal, chain by chain; chains have no fixed order. */
function assertSaved(actual: Record<string, string[]>, expected: Record<string, string[]>): void {
  const byChain = (tables: Record<string, string[]>) =>
    Object.fromEntries(
      Object.entries(tables).map(([table, lines]) => [
        table,
        Object.fromEntries(
          lines.filter((line) => line.startsWith(":")).sort().map((chain) => {
            const name = chain.slice(1).split(" ")[0]!;
            return [chain, lines.filter((line) => line.startsWith(`-A ${name} `))];
          }),
        ),
      ]),
    );
  assertEquals(byChain(actual), byChain(expected));
}

test("Firewall.ensure() adds newer flannel's rules to Docker's", async (host, variant) => {
  const before = await saved(host, variant);
  const firewall = await open(host);
  assert(firewall.description.includes(`(${variant})`), firewall.description);
  assertSaved(await saved(host, variant), before);
  const name = firewall.description.split(" ")[0]!;
  assertEquals(
    (await firewall.check()).toSorted(),
    Object.entries(OURS).flatMap(([table, lines]) =>
      lines.map((line) => `+ ${name} -t ${table} ${line.replace(/^:(\S+) -$/, "-N $1")}`)
    ).toSorted(),
  );
  assertSaved(await saved(host, variant), before);

  assertEquals(await firewall.ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before));
  assertEquals(await firewall.check(), []);
});

test("Firewall.ensure() finds the rules of an earlier run", async (host, variant) => {
  const before = await saved(host, variant);
  assertEquals(await (await open(host)).ensure(), "applied");
  const firewall = await open(host, {}, SPEC);
  assertEquals(await firewall.ensure(), "unchanged");
  assertEquals(await firewall.ensure(), "unchanged");
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() repairs what others damage", async (host, variant) => {
  const before = await saved(host, variant);
  const firewall = await open(host);
  await firewall.ensure();
  const iptables = `iptables-${variant}`;
  const damage: string[][] = [
    ["-F", "FLANNEL-FWD"],
    ["-D", "FORWARD", "-m", "comment", "--comment", "flanneld forward", "-j", "FLANNEL-FWD"],
    ["-I", "FLANNEL-FWD", "-s", "10.20.9.0/24", "-j", "DROP"],
    ["-t", "nat", "-D", "FLANNEL-POSTRTG", "2"],
    ["-t", "nat", "-R", "FLANNEL-POSTRTG", "5", "-s", "10.20.0.0/16", "-j", "MASQUERADE"],
    ["-t", "nat", "-I", "POSTROUTING", "-m", "comment", "--comment", "flanneld masq"]
      .concat("-j", "FLANNEL-POSTRTG"),
    ["-A", "DOCKER", "-p", "tcp", "-j", "FLANNEL-FWD"],
  ];
  for (const args of damage) {
    await host.run(iptables, ...args);
    assert((await firewall.check()).length > 0, args.join(" "));
    assertEquals(await firewall.ensure(), "repaired", args.join(" "));
    assertSaved(await saved(host, variant), withOurs(before));
    assertEquals(await firewall.ensure(), "unchanged", args.join(" "));
  }
});

test("Firewall.ensure() repairs tables that were flushed", async (host, variant) => {
  const firewall = await open(host);
  await firewall.ensure();
  for (const table of ["nat", "filter"]) {
    await host.run(`iptables-${variant}`, "-t", table, "-F");
    await host.run(`iptables-${variant}`, "-t", table, "-X");
  }
  const flushed = await saved(host, variant);
  assertEquals(await firewall.ensure(), "repaired");
  assertSaved(await saved(host, variant), withOurs(flushed));
});

test("Firewall.ensure() replaces the rules of another network", async (host, variant) => {
  const before = await saved(host, variant);
  const other = {
    network: Prefix.parse("10.30.0.0/16")!,
    subnet: Prefix.parse("10.30.1.0/24")!,
  };
  await (await open(host, other)).ensure();
  assert((await host.run(`iptables-${variant}-save`)).includes("10.30.1.0/24"));
  // The network of the earlier run may be unknown by now.
  assertEquals(await (await open(host)).ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() removes what was switched off", async (host, variant) => {
  const before = await saved(host, variant);
  await (await open(host)).ensure();
  assertEquals(await (await open(host, { ipMasq: false })).ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before, { filter: OURS.filter! }));
  assertEquals(await (await open(host, { forward: false })).ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before, { nat: OURS.nat! }));
  assertEquals(await (await open(host, { ipMasq: false, forward: false })).ensure(), "applied");
  assertSaved(await saved(host, variant), before);
});

test("Firewall.remove() leaves the host as it was", async (host, variant) => {
  const before = await saved(host, variant);
  const firewall = await open(host);
  await firewall.ensure();
  await firewall.remove();
  assertSaved(await saved(host, variant), before);
  await firewall.remove();
  assertSaved(await saved(host, variant), before);
  assertEquals(await firewall.ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() takes over from flannel 0.7.1", async (host, variant) => {
  const before = await saved(host, variant);
  for (const rule of V0_7_1) {
    await host.run(`iptables-${variant}`, "-t", "nat", "-A", "POSTROUTING", ...rule.split(" "));
  }
  assertEquals(await (await open(host)).ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() takes over from flannel 0.19 on another network", async (host, variant) => {
  const before = await saved(host, variant);
  const iptables = `iptables-${variant}`;
  for (const rule of V0_19) {
    await host.run(iptables, "-t", "nat", "-A", "POSTROUTING", ...rule.split(" "));
  }
  for (const side of ["-s", "-d"]) {
    await host.run(
      ...[iptables, "-A", "FORWARD", side, "10.21.0.0/16"],
      ...["-m", "comment", "--comment", "flanneld forward", "-j", "ACCEPT"],
    );
  }
  const previous = {
    network: Prefix.parse("10.21.0.0/16")!,
    subnet: Prefix.parse("10.21.5.0/24")!,
  };
  assertEquals(await (await open(host, { ipMasq: false }, previous)).ensure(), "applied");
  assertSaved(await saved(host, variant), withOurs(before, { filter: OURS.filter! }));
});

test("Firewall.ensure() comes before a rule that rejects everything", async (host, variant) => {
  await host.run(
    ...[`iptables-${variant}`, "-A", "FORWARD", "-j", "REJECT"],
    ...["--reject-with", "icmp-host-prohibited"],
  );
  const firewall = await open(host);
  assertEquals(await firewall.ensure(), "applied");
  const forward = (await saved(host, variant)).filter!
    .filter((line) => line.startsWith("-A FORWARD"));
  assertEquals(forward.slice(-2), [
    `-A FORWARD ${FWD} -j FLANNEL-FWD`,
    "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
  ]);
  assertEquals(await firewall.ensure(), "unchanged");

  await host.run(`iptables-${variant}`, "-I", "FORWARD", "2", "-j", "DROP");
  assertEquals(await firewall.ensure(), "repaired");
  const moved = (await saved(host, variant)).filter!
    .filter((line) => line.startsWith("-A FORWARD"));
  assertEquals(moved, [
    forward[0],
    `-A FORWARD ${FWD} -j FLANNEL-FWD`,
    "-A FORWARD -j DROP",
    forward[1],
    "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
  ]);
});

test("Firewall.ensure() runs one at a time", async (host, variant) => {
  const before = await saved(host, variant);
  const firewall = await open(host);
  assertEquals(
    await Promise.all([firewall.ensure(), firewall.ensure(), firewall.check(), firewall.ensure()]),
    ["applied", "unchanged", [], "unchanged"],
  );
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() copes with others that change the same rules", async (host, variant) => {
  const before = await saved(host, variant);
  for (const rule of V0_7_1) {
    await host.run(`iptables-${variant}`, "-t", "nat", "-A", "POSTROUTING", ...rule.split(" "));
  }
  // Each plans to delete what one of them will have deleted, and to add what is then there twice.
  const firewalls = await Promise.all([open(host), open(host), open(host)]);
  await Promise.all(firewalls.map((firewall) => firewall.ensure()));
  assertSaved(await saved(host, variant), withOurs(before));
});

test("Firewall.ensure() does nothing once the signal has aborted", async (host, variant) => {
  const before = await saved(host, variant);
  const controller = new AbortController();
  const firewall = await open(host, {}, undefined, { signal: controller.signal });
  controller.abort(new DOMException("stop", "AbortError"));
  await assertRejects(() => firewall.ensure(), DOMException, "stop");
  assertSaved(await saved(host, variant), before);
});

Deno.test("openFirewall() selects plain iptables without other rules, and moves to the rule set of other programs", async () => {
  await using host = await Namespace.make();
  const first = await open(host);
  await first.ensure();
  const version = await host.run("iptables", "--version");
  const [plain, other]: [Variant, Variant] = version.includes("nf_tables")
    ? ["nft", "legacy"]
    : ["legacy", "nft"];
  assert(first.description.startsWith("iptables 1."), first.description);
  assertSaved(await saved(host, plain), withOurs(emptyTables(await saved(host, plain))));

  // Docker, started since, uses the other rule set.
  await setUpDocker(host, other);
  const before = await saved(host, other);
  const second = await open(host, {}, SPEC);
  assert(second.description.includes(`(${other})`), second.description);
  assertEquals(await second.ensure(), "applied");
  assertSaved(await saved(host, other), withOurs(before));
  assertSaved(await saved(host, plain), emptyTables(await saved(host, plain)));
});

/** The tables of `tables` with their built-in chains and nothing in them. */
function emptyTables(tables: Record<string, string[]>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(tables).map(([table, lines]) => [
      table,
      lines.filter((line) => /^:\S+ ACCEPT$/.test(line)),
    ]),
  );
}

Deno.test("Firewall.ensure() leaves nothing behind when one table is refused", async () => {
  await using host = await Namespace.make();
  // A table `filter` that iptables cannot work with: its FORWARD hooks in at another priority.
  await host.run("nft", "add table ip filter");
  await host.run("nft", "add chain ip filter FORWARD { type filter hook forward priority 10; }");
  await host.run("iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-o", "mine0", "-j", "ACCEPT");
  const nat = (await saved(host, "nft")).nat;
  const firewall = await open(host);
  const error = await assertRejects(() => firewall.ensure(), FirewallError);
  assert(/^iptables(-nft)?-restore failed with status \d+: /.test(error.message), error.message);
  assert(error.message.includes("FORWARD"), error.message);
  assert(!error.message.includes("\n"), error.message);
  assertEquals((await saved(host, "nft")).nat, nat);

  await host.run("nft", "delete chain ip filter FORWARD");
  assertEquals(await firewall.ensure(), "applied");
});

Deno.test("Firewall.ensure() finds an iptables that was installed meanwhile", async () => {
  await using host = await Namespace.make();
  const directory = await Deno.makeTempDir();
  try {
    const firewall = await open(host, { ipMasq: false }, undefined, { searchPath: [directory] });
    assertEquals(await firewall.ensure(), "unchanged");
    for (const program of ["", "-save", "-restore"]) {
      const path = (await host.run("which", `iptables-nft${program}`)).trim();
      await Deno.symlink(path, `${directory}/iptables-nft${program}`);
    }
    assertEquals(await firewall.ensure(), "applied");
    assert(firewall.description.startsWith("iptables-nft 1."), firewall.description);
    assertEquals((await saved(host, "nft")).filter!.slice(-3), OURS.filter!.slice(1));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("Firewall.ensure() waits for the lock that another iptables holds", async () => {
  await using host = await Namespace.make();
  await setUpDocker(host, "legacy");
  const firewall = await open(host);
  const holder = host.spawn("flock", "/run/xtables.lock", "sh", "-c", "echo held; sleep 1");
  const output = holder.stdout.getReader();
  await output.read();
  const started = performance.now();
  assertEquals(await firewall.ensure(), "applied");
  const waited = performance.now() - started;
  await output.cancel();
  await holder.stderr.cancel();
  await holder.status;
  assert(waited > 500, `${waited} ms`);
});
