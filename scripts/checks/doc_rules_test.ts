import { assertEquals } from "@std/assert";
import { anchorOf, type DocFacts, docProblems } from "./doc_rules.ts";

const FILES: Record<string, string> = {
  "docs/b.md": "# Title\n\n## When it fails: `x`\n",
  "mod/ip/mod.ts": "",
  "mod/sys/mod.ts": "",
  "mod/cli/flags/parse.ts": "",
};

const FACTS: DocFacts = {
  flags: new Set(["iface", "etcd-prefix", "yes"]),
  subcommands: new Set(["plan", "config"]),
  configKeys: new Set(["Type", "VNI"]),
  metrics: new Set(["flanneld_ready"]),
  tasks: new Set(["ok", "test:kernel"]),
  installerOptions: new Set(["--prefix"]),
  exists: (path) =>
    Promise.resolve(Object.keys(FILES).some((file) => `${file}/`.startsWith(`${path}/`))),
  read: (path) => Promise.resolve(FILES[path]!),
};

Deno.test("docProblems() finds nothing where all is there", async () => {
  const text = "[b](b.md#when-it-fails-x) [x](https://nosuch) `mod/ip/mod.ts` `mod/<name>/x.ts`\n" +
    '`flanneld_ready` `"VNI": 7` `"Type"` `Backend.VNI` `"7"` `FLANNELD_ETCD_PREFIX` `FLANNELD_*` `-iface=eth1` `--prefix` `-A` `flanneld plan` `flanneld config set -yes` `deno task ok`\n' +
    "```sh\nflanneld config set -yes '{\"a\": -nosuch}' || true\nip -d link # flanneld nosuch\n```\n";
  assertEquals(await docProblems("docs/a.md", text, FACTS), []);
});

Deno.test("docProblems() names each thing that is not there", async () => {
  const cases = [
    ["[x](nosuch.md)", "link to nosuch.md, which is not there"],
    ["[x](b.md#nosuch)", "link to b.md#nosuch: docs/b.md has no such heading"],
    ["`mod/nosuch.ts`", "`mod/nosuch.ts` is not there"],
    ["`-ifaces=eth1`", "`-ifaces=eth1`: there is no such flag"],
    ["`flanneld plans`", "flanneld plans: there is no such subcommand"],
    ["```sh\n/usr/bin/flanneld -nosuch\n```", "flanneld ... -nosuch: there is no such flag"],
    ["```sh\nsh install.sh --nosuch\n```", "install.sh --nosuch: there is no such option"],
    [
      "1. x\n\n   ```sh\n   flanneld -nosuch\n   ```",
      "flanneld ... -nosuch: there is no such flag",
    ],
    ["FLANNELD_IFCAE=eth1", "FLANNELD_IFCAE: there is no such flag"],
    ["`flanneld_reday`", "flanneld_reday: there is no such metric"],
    ['`"Vni": 7`', '`"Vni": 7`: the config has no key Vni'],
    ["`Backend.Vni`", "`Backend.Vni`: the config has no key Vni"],
    ["`deno task nosuch`", "deno task nosuch: there is no such task"],
  ];
  for (const [text, problem] of cases) {
    assertEquals(await docProblems("docs/a.md", `${text}\n`, FACTS), [`docs/a.md: ${problem}`]);
  }
});

Deno.test("anchorOf() is what GitHub makes of a heading", () => {
  assertEquals(anchorOf("When it fails: `x`"), "when-it-fails-x");
  assertEquals(anchorOf("1. etcd"), "1-etcd");
});
