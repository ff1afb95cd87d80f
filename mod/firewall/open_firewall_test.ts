import { assert, assertEquals, assertRejects } from "@std/assert";
import { Prefix } from "../ip/mod.ts";
import { FirewallError } from "./errors.ts";
import { openFirewall } from "./open_firewall.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ipMasq: true,
  forward: true,
  randomFully: true,
};

async function withEmptyDirectory(test: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("openFirewall() refuses to masquerade without a tool and names the remedy", () =>
  withEmptyDirectory(async (directory) => {
    const error = await assertRejects(
      () => openFirewall(SPEC, undefined, { searchPath: [directory] }),
      FirewallError,
    );
    assertEquals(
      error.message,
      "neither iptables nor nft was found, and -ip-masq needs one of them: install the package " +
        `iptables or nftables (they are searched for in ${directory}), or run without -ip-masq`,
    );
  }));

Deno.test("openFirewall() works without a tool when only forwarding is requested, and describes that", () =>
  withEmptyDirectory(async (directory) => {
    const spec = { ...SPEC, ipMasq: false };
    const firewall = await openFirewall(spec, undefined, { searchPath: [directory] });
    assert(
      firewall.description.startsWith("none: neither iptables nor nft was found"),
      firewall.description,
    );
    assert(firewall.description.includes("10.20.0.0/16"), firewall.description);
    assertEquals(await firewall.check(), []);
    assertEquals(await firewall.ensure(), "unchanged");
    assertEquals(await firewall.survey(), { tools: [], obstacles: [], firewalld: undefined });
    await firewall.remove();
  }));

Deno.test("openFirewall() wants the tool that was asked for by name, masquerading or not", () =>
  withEmptyDirectory(async (directory) => {
    for (const [mode, program] of [["iptables", "iptables"], ["nftables", "nft"]] as const) {
      const error = await assertRejects(
        () =>
          openFirewall({ ...SPEC, ipMasq: false }, undefined, { mode, searchPath: [directory] }),
        FirewallError,
      );
      assertEquals(
        error.message,
        `${program} was not found, and -firewall ${mode} needs it: install the package ${mode} ` +
          `(it is searched for in ${directory}), or run with -firewall auto`,
      );
    }
  }));

Deno.test("openFirewall() reports an nft that does not work when nothing else is there", () =>
  withEmptyDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/nft`, "#!/bin/sh\necho broken\n", { mode: 0o755 });
    await assertRejects(
      () => openFirewall(SPEC, undefined, { mode: "nftables", searchPath: [directory] }),
      FirewallError,
      'nft --version answered "broken"',
    );
  }));

Deno.test("openFirewall() wants all three programs of an iptables", () =>
  withEmptyDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/iptables`, "", { mode: 0o755 });
    await Deno.writeTextFile(`${directory}/iptables-save`, "", { mode: 0o755 });
    await assertRejects(
      () => openFirewall(SPEC, undefined, { searchPath: [directory] }),
      FirewallError,
      "neither iptables nor nft was found",
    );
  }));

Deno.test("openFirewall() reports an iptables that does not work", () =>
  withEmptyDirectory(async (directory) => {
    for (const name of ["iptables", "iptables-save", "iptables-restore"]) {
      await Deno.writeTextFile(`${directory}/${name}`, "#!/bin/sh\necho broken >&2\nexit 2\n", {
        mode: 0o755,
      });
    }
    await assertRejects(
      () => openFirewall({ ...SPEC, ipMasq: false }, undefined, { searchPath: [directory] }),
      FirewallError,
      "iptables failed with status 2: broken",
    );
  }));

Deno.test("openFirewall() leaves nft out where the kernel has no nf_tables, and an error names both modules", () =>
  withEmptyDirectory(async (directory) => {
    // As nft 1.1.3 and iptables 1.8.11 on Linux 7.2 without modules.
    const programs = {
      nft: '[ "$1" = --version ] && echo v1.1.3 || ' +
        '{ echo "netlink: Error: cache initialization failed: Invalid argument" >&2; exit 1; }',
      iptables: 'echo "iptables v1.8.11 (nf_tables)"',
      "iptables-save":
        'echo "iptables-save: Failed to initialize nft: Protocol not supported" >&2; exit 1',
      "iptables-restore": "",
      "iptables-legacy": 'echo "iptables v1.8.11 (legacy)"',
      "iptables-legacy-save": "",
      "iptables-legacy-restore":
        "echo \"iptables-restore: unable to initialize table 'nat'\" >&2; exit 2",
    };
    for (const [name, text] of Object.entries(programs)) {
      await Deno.writeTextFile(`${directory}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    for (const mode of ["auto", "iptables"] as const) {
      const firewall = await openFirewall(SPEC, undefined, { mode, searchPath: [directory] });
      assertEquals(firewall.description, "iptables-legacy 1.8.11 (legacy)");
      const { message } = await assertRejects(() => firewall.ensure(), FirewallError);
      assertEquals(
        message,
        "iptables-legacy-restore failed with status 2: iptables-restore: unable to initialize " +
          "table 'nat' (the module ip_tables is not loaded: modprobe ip_tables); iptables-save " +
          "failed with status 1: iptables-save: Failed to initialize nft: Protocol not supported " +
          "(the module nf_tables is not loaded: modprobe nf_tables)",
      );
    }
  }));
