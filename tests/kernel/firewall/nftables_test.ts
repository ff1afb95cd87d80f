import { assert, assertEquals, assertRejects } from "@std/assert";
import { FirewallError } from "../../../mod/firewall/mod.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { open, setUpDocker, SPEC, test } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";

const NFTABLES = { mode: "nftables" } as const;
const IPTABLES = { mode: "iptables" } as const;

/** flanneld's output of `nft list table` for {@linkcode SPEC}. */
const OURS = `table ip flannel-ipv4 {
	chain postrtg {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return
		ip saddr 10.20.93.0/24 ip daddr 10.20.0.0/16 return
		ip saddr 10.20.0.0/16 ip daddr 10.20.93.0/24 return
		ip saddr != 10.20.0.0/16 ip daddr 10.20.93.0/24 return
		ip saddr 10.20.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
		ip saddr != 10.20.0.0/16 ip daddr 10.20.0.0/16 masquerade fully-random
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 10.20.0.0/16 accept
		ip daddr 10.20.0.0/16 accept
	}
}
`;

/** Newer flannel's own form: what an upgrade from it finds. */
const NEWER_FLANNEL = `
add table ip flannel-ipv4
add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority 100; policy accept; }
add rule ip flannel-ipv4 postrtg meta mark 0x4000 return
add rule ip flannel-ipv4 postrtg ip saddr 10.20.93.0/24 ip daddr 10.20.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.20.0.0/16 ip daddr 10.20.93.0/24 return
add rule ip flannel-ipv4 postrtg ip saddr != 10.20.93.0/24 ip daddr 10.20.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.20.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
add rule ip flannel-ipv4 postrtg ip saddr != 10.20.0.0/16 ip daddr 10.20.0.0/16 masquerade fully-random
add chain ip flannel-ipv4 forward { type filter hook forward priority 0; policy accept; }
add rule ip flannel-ipv4 forward ip saddr 10.20.0.0/16 accept
add rule ip flannel-ipv4 forward ip daddr 10.20.0.0/16 accept
add table ip6 flannel-ipv6
add chain ip6 flannel-ipv6 postrtg { type nat hook postrouting priority 100; policy accept; }
add chain ip6 flannel-ipv6 forward { type filter hook forward priority 0; policy accept; }
`;

/** An operator's own firewall, with rules similar to flanneld's. */
const FOREIGN = `
add table inet site
add chain inet site guard { type filter hook forward priority 10; policy accept; }
add rule inet site guard ip saddr 10.20.0.0/16 counter accept comment "flanneld forward"
add table ip flannel-ipv4-mine
add chain ip flannel-ipv4-mine postrtg { type nat hook postrouting priority 90; policy accept; }
add rule ip flannel-ipv4-mine postrtg ip saddr 10.20.0.0/16 return
`;

/** Runs a test on a fresh host whose firewall is the operator's, in nftables. */
function onSite(name: string, body: (host: Namespace) => Promise<void>): void {
  Deno.test(name, async () => {
    await using host = await Namespace.make();
    await nft(host, FOREIGN);
    await body(host);
  });
}

async function nft(host: Namespace, commands: string): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, commands);
    await host.run("nft", "-f", path);
  } finally {
    await Deno.remove(path);
  }
}

/** `nft -j list ruleset`, object by object, without handles and nft's metadata. */
async function ruleset(host: Namespace): Promise<unknown[]> {
  const { nftables } = JSON.parse(await host.run("nft", "-j", "list", "ruleset"));
  return (nftables as Record<string, Record<string, unknown>>[])
    .filter((object) => !("metainfo" in object))
    .map((object) => {
      const [kind, value] = Object.entries(object)[0]!;
      const { handle: _, ...rest } = value;
      return { [kind]: rest };
    });
}

function ownTable(host: Namespace): Promise<string> {
  return host.run("nft", "list", "table", "ip", "flannel-ipv4");
}

/** Lines of iptables-save without counters and comments. */
async function saved(host: Namespace, variant: string): Promise<string[]> {
  return (await host.run(`iptables-${variant}-save`)).split("\n")
    .filter((line) => /^(\*|:|-A )/.test(line))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, "")).sort();
}

onSite(
  "Firewall.ensure() by nftables makes newer flannel's table, corrected, beside others",
  async (host) => {
    const before = await ruleset(host);
    const firewall = await open(host, {}, undefined, NFTABLES);
    assert(firewall.description.startsWith("nftables 1."), firewall.description);
    assertEquals(await ruleset(host), before);
    const lines = await firewall.check();
    assertEquals(lines.length, 11);
    assert(lines.includes("+ nft ip flannel-ipv4 forward ip saddr 10.20.0.0/16 accept"));
    assertEquals(await ruleset(host), before);

    assertEquals(await firewall.ensure(), "applied");
    assertEquals(await ownTable(host), OURS);
    assertEquals((await ruleset(host)).filter((object) => !isOurs(object)), before);
    assertEquals(await firewall.check(), []);

    await firewall.remove();
    assertEquals(await ruleset(host), before);
  },
);

function isOurs(object: unknown): boolean {
  const { family, table, name } = Object.values(object as object)[0];
  return family === "ip" && (table ?? name) === "flannel-ipv4";
}

onSite("Firewall.ensure() by nftables makes no table of iptables", async (host) => {
  await (await open(host, {}, undefined, NFTABLES)).ensure();
  const tables = await host.run("nft", "list", "tables");
  assertEquals(tables.trim().split("\n").length, 3, tables);
});

onSite("Firewall.ensure() by nftables makes what is asked for and no more", async (host) => {
  const firewall = await open(host, { ipMasq: false }, undefined, NFTABLES);
  await firewall.ensure();
  assert(!(await ownTable(host)).includes("postrtg"));
  const masquerade = await open(host, { forward: false, randomFully: false }, SPEC, NFTABLES);
  assertEquals(await masquerade.ensure(), "applied");
  const text = await ownTable(host);
  assert(!text.includes("forward"), text);
  assert(/daddr != 224\.0\.0\.0\/4 masquerade\n/.test(text), text);
  const nothing = await open(host, { forward: false, ipMasq: false }, SPEC, NFTABLES);
  await nothing.ensure();
  await assertRejects(() => ownTable(host), Error, "No such file");
});

onSite("Firewall.ensure() by nftables finds the rules of an earlier run", async (host) => {
  await (await open(host, {}, undefined, NFTABLES)).ensure();
  const before = await host.run("nft", "-a", "list", "ruleset");
  const firewall = await open(host, {}, SPEC, NFTABLES);
  assertEquals(await firewall.ensure(), "unchanged");
  assertEquals(await host.run("nft", "-a", "list", "ruleset"), before);
});

onSite("Firewall.ensure() by nftables repairs what others damage", async (host) => {
  const firewall = await open(host, {}, undefined, NFTABLES);
  await firewall.ensure();
  const table = "ip flannel-ipv4";
  const damage = [
    `delete table ${table}`,
    `flush table ${table}`,
    `flush chain ${table} postrtg`,
    `delete chain ${table} forward`,
    `add rule ${table} forward ip saddr 10.20.9.0/24 drop`,
    `insert rule ${table} postrtg accept`,
    `add chain ${table} extra`,
    `add chain ${table} extra { type filter hook input priority 0; policy drop; }`,
    `add set ${table} extra { type ipv4_addr; }`,
    `add chain ${table} forward { policy drop; }`,
    `add table ${table} { flags dormant; }`,
    `flush chain ${table} forward; add rule ${table} forward ip daddr 10.20.0.0/16 accept; ` +
    `add rule ${table} forward ip saddr 10.20.0.0/16 accept`,
    `flush chain ${table} forward; add rule ${table} forward ip daddr 10.20.0.0/16 counter accept; ` +
    `add rule ${table} forward ip saddr 10.20.0.0/16 accept`,
  ];
  for (const command of damage) {
    await host.run("nft", command);
    assert((await firewall.check()).length > 0, command);
    assertEquals(await firewall.ensure(), "repaired", command);
    assertEquals(await ownTable(host), OURS, command);
    assertEquals(await firewall.ensure(), "unchanged", command);
  }
});

onSite(
  "Firewall.ensure() by nftables comes back after a ruleset that flushes everything",
  async (host) => {
    const firewall = await open(host, {}, undefined, NFTABLES);
    await firewall.ensure();
    await nft(host, `flush ruleset\n${FOREIGN}`);
    const before = await ruleset(host);
    assertEquals(await firewall.ensure(), "repaired");
    assertEquals(await ownTable(host), OURS);
    await firewall.remove();
    assertEquals(await ruleset(host), before);
  },
);

onSite("Firewall.ensure() by nftables replaces the rules of another network", async (host) => {
  await (await open(host, {}, undefined, NFTABLES)).ensure();
  const next = {
    network: Prefix.parse("10.21.0.0/16")!,
    subnet: Prefix.parse("10.21.4.0/32")!,
  };
  const firewall = await open(host, next, SPEC, NFTABLES);
  assertEquals(await firewall.ensure(), "applied");
  const text = await ownTable(host);
  assert(!text.includes("10.20."), text);
  assertEquals(await firewall.ensure(), "unchanged");
});

onSite(
  "Firewall.ensure() takes over newer flannel's nftables rules, in either mode",
  async (host) => {
    const before = await ruleset(host);
    await nft(host, NEWER_FLANNEL);
    const corrected = await open(host, {}, SPEC, NFTABLES);
    assertEquals(await corrected.check(), [
      "- nft table ip6 flannel-ipv6",
      "- nft ip flannel-ipv4 postrtg " +
      '[{"match":{"op":"==","left":{"meta":{"key":"mark"}},"right":16384}},{"return":null}]',
      "- nft ip flannel-ipv4 postrtg ip saddr != 10.20.93.0/24 ip daddr 10.20.0.0/16 return",
      "+ nft ip flannel-ipv4 postrtg meta mark & 0x4000 == 0x4000 return",
      "+ nft ip flannel-ipv4 postrtg ip saddr != 10.20.0.0/16 ip daddr 10.20.93.0/24 return",
    ]);
    await corrected.ensure();
    assertEquals(await ownTable(host), OURS);
    assertEquals((await ruleset(host)).filter((object) => !isOurs(object)), before);

    await nft(host, `delete table ip flannel-ipv4${NEWER_FLANNEL}`);
    await (await open(host, {}, SPEC, IPTABLES)).ensure();
    const tables = await host.run("nft", "list", "tables");
    assert(!/flannel-ipv[46]$/m.test(tables), tables);
  },
);

test(
  "Firewall.ensure() by nftables accepts where Docker drops, and nowhere else",
  async (host, variant) => {
    const other = variant === "nft" ? "legacy" : "nft";
    const before = await saved(host, variant);
    const beside = await saved(host, other);
    const firewall = await open(host, {}, undefined, NFTABLES);
    assertEquals(await firewall.ensure(), "applied");
    assertEquals(await ownTable(host), OURS);
    const comment = '-m comment --comment "flanneld forward"';
    assertEquals(
      await saved(host, variant),
      [
        ...before,
        ":FLANNEL-FWD -",
        `-A FORWARD ${comment} -j FLANNEL-FWD`,
        `-A FLANNEL-FWD -s 10.20.0.0/16 ${comment} -j ACCEPT`,
        `-A FLANNEL-FWD -d 10.20.0.0/16 ${comment} -j ACCEPT`,
      ].sort(),
    );
    assertEquals(await saved(host, other), beside);
    assertEquals(await firewall.ensure(), "unchanged");

    // Docker goes, and takes its rules along.
    await host.run(`iptables-${variant}`, "-F", "FORWARD");
    await host.run(`iptables-${variant}`, "-P", "FORWARD", "ACCEPT");
    assertEquals(await firewall.ensure(), "applied");
    assert(!(await saved(host, variant)).some((line) => line.includes("FLANNEL-FWD")));
    await firewall.remove();
    await assertRejects(() => ownTable(host), Error, "No such file");
  },
);

test("Firewall.ensure() sees a Docker that is started after it", async (host, variant) => {
  await using later = await Namespace.make();
  const firewall = await open(later, {}, undefined, NFTABLES);
  await firewall.ensure();
  await setUpDocker(later, variant);
  assertEquals(await firewall.ensure(), "applied");
  assert((await saved(later, variant)).some((line) => line.startsWith("-A FLANNEL-FWD -s")));
  await firewall.remove();
  assertEquals(await saved(later, variant), await saved(host, variant));
});

test(
  "Firewall.ensure() after a change of mode removes the other mode's rules",
  async (host, variant) => {
    const bare = {
      rules: await saved(host, variant),
      tables: await host.run("nft", "list", "tables"),
    };
    await (await open(host, {}, undefined, IPTABLES)).ensure();
    const withIptables = await saved(host, variant);
    assert(
      withIptables.some((line) => line.startsWith("-A POSTROUTING") && line.includes("FLANNEL")),
    );

    await (await open(host, {}, SPEC, NFTABLES)).ensure();
    const left = (await saved(host, variant)).filter((line) =>
      /FLANNEL/.test(line) && !/mine0/.test(line)
    );
    assertEquals(left.filter((line) => line.includes("POSTRTG")), []);
    assertEquals(left.length, 4);
    assertEquals(await ownTable(host), OURS);

    const back = await open(host, {}, SPEC, IPTABLES);
    assertEquals(await back.ensure(), "applied");
    assertEquals(await saved(host, variant), withIptables);
    await assertRejects(() => ownTable(host), Error, "No such file");
    await back.remove();
    assertEquals(await saved(host, variant), bare.rules);
    assertEquals(await host.run("nft", "list", "tables"), bare.tables);
  },
);

test("Firewall.ensure() by nftables removes flannel 0.7.1's rules", async (host, variant) => {
  const before = await saved(host, variant);
  for (
    const rule of [
      "-s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
      "-s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
      "! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
    ]
  ) {
    await host.run(`iptables-${variant}`, "-t", "nat", "-A", "POSTROUTING", ...rule.split(" "));
  }
  const firewall = await open(host, { forward: false }, SPEC, NFTABLES);
  await firewall.ensure();
  assertEquals(await saved(host, variant), before);
});

Deno.test("openFirewall() by itself takes what the host uses", async () => {
  const tool = async (host: Namespace, options = {}) =>
    (await open(host, {}, undefined, options)).description.split(" ")[0];
  await using bare = await Namespace.make();
  assertEquals(await tool(bare), "iptables");
  // The network's config asks for it; the flag wins over the config.
  assertEquals(await tool(bare, { preferNftables: true }), "nftables");
  assertEquals(await tool(bare, { preferNftables: true, ...IPTABLES }), "iptables");

  await using site = await Namespace.make();
  await nft(site, FOREIGN);
  assertEquals(await tool(site), "nftables");
  // Its own table is no reason to stay, nor is iptables' in nftables.
  await (await open(bare, {}, undefined, NFTABLES)).ensure();
  assertEquals(await tool(bare), "iptables");
  // But a running agent keeps its tool, and doctor checks that tool.
  assertEquals(await tool(bare, { isRunning: true }), "nftables");
  assertEquals(await tool(bare, { isRunning: true, ...IPTABLES }), "iptables");

  // Nor does the tool of a program that comes later, as netavark does with Podman's first container.
  await using later = await Namespace.make();
  await (await open(later, {}, undefined, IPTABLES)).ensure();
  await nft(later, FOREIGN);
  assertEquals(await tool(later), "nftables");
  assertEquals(await tool(later, { isRunning: true }), "iptables");

  await setUpDocker(site, "nft");
  assert(/^iptables/.test((await tool(site))!));
  await using old = await Namespace.make();
  await setUpDocker(old, "legacy");
  assertEquals(await tool(old), "iptables-legacy");
});

Deno.test("openFirewall() takes nftables on a host without iptables", async () => {
  await using host = await Namespace.make();
  const directory = await Deno.makeTempDir();
  try {
    await Deno.symlink((await host.run("which", "nft")).trim(), `${directory}/nft`);
    const options = { searchPath: [directory] };
    const firewall = await open(host, {}, undefined, options);
    assertEquals(await firewall.ensure(), "applied");
    assertEquals(await ownTable(host), OURS);
    await host.run("nft", "flush ruleset");
    assertEquals(await firewall.ensure(), "repaired");

    // Docker brings iptables along.
    for (const program of ["", "-save", "-restore"]) {
      const path = (await host.run("which", `iptables-nft${program}`)).trim();
      await Deno.symlink(path, `${directory}/iptables-nft${program}`);
    }
    await host.run("iptables-nft", "-P", "FORWARD", "DROP");
    const again = await open(host, {}, SPEC, { ...options, ...NFTABLES });
    assertEquals(await again.ensure(), "applied");
    assert((await saved(host, "nft")).some((line) => line.startsWith("-A FLANNEL-FWD")));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("Firewall.ensure() by nftables leaves nothing behind when iptables refuses", async () => {
  await using host = await Namespace.make();
  await host.run("iptables-nft", "-P", "FORWARD", "DROP");
  const before = await ruleset(host);
  const directory = await Deno.makeTempDir();
  try {
    for (const program of ["nft", "iptables-nft", "iptables-nft-save"]) {
      await Deno.symlink((await host.run("which", program)).trim(), `${directory}/${program}`);
    }
    const restore = `${directory}/iptables-nft-restore`;
    await Deno.writeTextFile(restore, "#!/bin/sh\necho no >&2\nexit 1\n", { mode: 0o755 });
    const firewall = await open(host, {}, undefined, { ...NFTABLES, searchPath: [directory] });
    await assertRejects(
      () => firewall.ensure(),
      FirewallError,
      "iptables-nft-restore failed with status 1: no",
    );
    assertEquals(await ruleset(host), before);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("Firewall.survey() names a FORWARD that iptables cannot work with", async () => {
  await using host = await Namespace.make();
  const hook = "type filter hook forward priority 10; policy drop;";
  await nft(host, `add table ip filter\nadd chain ip filter FORWARD { ${hook} }\n`);
  const firewall = await open(host, {}, undefined, NFTABLES);
  const { obstacles: [obstacle] } = await firewall.survey();
  assert(obstacle?.text.startsWith('nftables chain "ip filter FORWARD" drops'), obstacle?.text);
  await host.run("nft", "delete table ip filter");
  await host.run("iptables-nft", "-P", "FORWARD", "DROP");
  assertEquals((await firewall.survey()).obstacles, []);
});

onSite("Firewall.ensure() by nftables reports nft's error in one line", async (host) => {
  const directory = await Deno.makeTempDir();
  try {
    const real = (await host.run("which", "nft")).trim();
    await Deno.writeTextFile(
      `${directory}/nft`,
      `#!/bin/sh\ncase "$*" in *-f*) echo "netlink: no" >&2; exit 1;; *) exec ${real} "$@";; esac\n`,
      { mode: 0o755 },
    );
    const before = await ruleset(host);
    const firewall = await open(host, {}, undefined, { ...NFTABLES, searchPath: [directory] });
    const error = await assertRejects(() => firewall.ensure(), FirewallError);
    assertEquals(error.message, "nft failed with status 1: netlink: no");
    assertEquals(await ruleset(host), before);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
