import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { type DesiredChains, foreignWeight, hasOwnRules, NOTHING, planRestore } from "./plan.ts";
import { desiredRules, hasDockerChains, ownChains } from "./rules.ts";
import { parseSave, type SavedRules, splitWords } from "./iptables/save_format.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ipMasq: true,
  forward: true,
  randomFully: true,
};

const MASQ = '-m comment --comment "flanneld masq"';
const OVERLAY = '-m comment --comment "flanneld overlay"';
const FWD = '-m comment --comment "flanneld forward"';

function wanted(spec: Partial<FirewallSpec> = {}): DesiredChains {
  return (chain) => desiredRules(chain, { ...SPEC, ...spec });
}

function save(nat: readonly string[], filter: readonly string[]): SavedRules {
  return parseSave(
    ["*nat", ":POSTROUTING ACCEPT [0:0]", ...nat, "COMMIT"].join("\n") + "\n" +
      ["*filter", ":FORWARD DROP [0:0]", ...filter, "COMMIT"].join("\n") + "\n",
  );
}

const NAT_RULES = [
  `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`,
  `-A FLANNEL-POSTRTG -s 10.20.93.0/24 -d 10.20.0.0/16 ${MASQ} -j RETURN`,
  `-A FLANNEL-POSTRTG -s 10.20.0.0/16 -d 10.20.93.0/24 ${MASQ} -j RETURN`,
  `-A FLANNEL-POSTRTG ! -s 10.20.0.0/16 -d 10.20.93.0/24 ${MASQ} -j RETURN`,
  `-A FLANNEL-POSTRTG -s 10.20.0.0/16 ! -d 224.0.0.0/4 ${MASQ} -j MASQUERADE --random-fully`,
  `-A FLANNEL-POSTRTG ! -s 10.20.0.0/16 -d 10.20.0.0/16 ${MASQ} -j MASQUERADE --random-fully`,
];
const NAT = [
  ":FLANNEL-POSTRTG - [0:0]",
  `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
  ...NAT_RULES,
];
const FILTER_RULES = [
  `-A FLANNEL-FWD -s 10.20.0.0/16 ${FWD} -j ACCEPT`,
  `-A FLANNEL-FWD -d 10.20.0.0/16 ${FWD} -j ACCEPT`,
];
const FILTER = [":FLANNEL-FWD - [0:0]", `-A FORWARD ${FWD} -j FLANNEL-FWD`, ...FILTER_RULES];

const APPLY_NAT = [
  "*nat",
  ":FLANNEL-POSTRTG - [0:0]",
  ...NAT_RULES,
  `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
  "COMMIT",
];
const APPLY_FILTER = [
  "*filter",
  ":FLANNEL-FWD - [0:0]",
  ...FILTER_RULES,
  `-A FORWARD ${FWD} -j FLANNEL-FWD`,
  "COMMIT",
];

const ACCEPT = `-i flannel.1 -s 10.20.0.0/16 -d 10.20.93.0/24 ${OVERLAY} -j ACCEPT`;
const INPUT = [
  ":FLANNEL-IN - [0:0]",
  `-A DOCKER-USER ${OVERLAY} -j FLANNEL-IN`,
  `-A FLANNEL-IN ${ACCEPT}`,
];
const RAW = [
  ":FLANNEL-RAW - [0:0]",
  `-A PREROUTING ${OVERLAY} -j FLANNEL-RAW`,
  `-A FLANNEL-RAW ${ACCEPT}`,
];

function text(...lines: string[]): string {
  return lines.join("\n") + "\n";
}

Deno.test("planRestore() writes the whole set on a host without rules", () => {
  const plan = planRestore(new Map(), wanted(), [SPEC])!;
  assertEquals(plan.text, text(...APPLY_NAT, ...APPLY_FILTER));
  assertEquals(plan.differences, [
    "nat: FLANNEL-POSTRTG is missing",
    "nat: POSTROUTING does not lead to FLANNEL-POSTRTG as it should",
    "filter: FLANNEL-FWD is missing",
    "filter: FORWARD does not lead to FLANNEL-FWD as it should",
  ]);
});

Deno.test("planRestore() has nothing to do when all is in place", () => {
  assertEquals(planRestore(save(NAT, FILTER), wanted(), [SPEC]), undefined);
});

Deno.test("planRestore() leaves the table nat alone when only forwarding is wanted", () => {
  assertEquals(
    planRestore(new Map(), wanted({ ipMasq: false }), [SPEC])!.text,
    text(...APPLY_FILTER),
  );
});

Deno.test("planRestore() keeps a jump that is there, wherever it stands", () => {
  const saved = save([
    NAT[0]!,
    NAT[1]!,
    "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    ...NAT_RULES.slice(1),
  ], FILTER);
  assertEquals(
    planRestore(saved, wanted(), [SPEC])!.text,
    text("*nat", ":FLANNEL-POSTRTG - [0:0]", ...NAT_RULES, "COMMIT"),
  );
});

Deno.test("planRestore() replaces the rules of another network in the same transaction", () => {
  const old = (lines: readonly string[]) =>
    lines.map((line) => line.replaceAll("10.20.93.", "10.21.5.").replaceAll("10.20.", "10.21."));
  assertEquals(
    planRestore(save(old(NAT), old(FILTER)), wanted(), [SPEC])!.text,
    text(
      "*nat",
      ":FLANNEL-POSTRTG - [0:0]",
      ...NAT_RULES,
      "COMMIT",
      "*filter",
      ":FLANNEL-FWD - [0:0]",
      ...FILTER_RULES,
      "COMMIT",
    ),
  );
});

Deno.test("planRestore() removes the masquerade part when it is switched off", () => {
  assertEquals(
    planRestore(save(NAT, FILTER), wanted({ ipMasq: false }), [SPEC])!.text,
    text(
      "*nat",
      ":FLANNEL-POSTRTG - [0:0]",
      `-D POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
      "-X FLANNEL-POSTRTG",
      "COMMIT",
    ),
  );
});

Deno.test("planRestore() removes 0.7.1's rules while it adds flanneld's", () => {
  const saved = save([
    "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    "-A POSTROUTING -s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
    "-A POSTROUTING -s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "-A POSTROUTING ! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
  ], FILTER);
  assertEquals(
    planRestore(saved, wanted(), [SPEC])!.text,
    text(
      "*nat",
      ":FLANNEL-POSTRTG - [0:0]",
      "-D POSTROUTING -s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
      "-D POSTROUTING ! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
      "-D POSTROUTING -s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
      ...NAT_RULES,
      `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
      "COMMIT",
    ),
  );
});

Deno.test("planRestore() puts the jump before a rule that rejects everything", () => {
  const reject = "-A FORWARD -j REJECT --reject-with icmp-host-prohibited";
  const accept = "-A FORWARD -i lo -j ACCEPT";
  const expected = text(
    "*filter",
    ":FLANNEL-FWD - [0:0]",
    ...FILTER_RULES,
    `-I FORWARD 2 ${FWD} -j FLANNEL-FWD`,
    "COMMIT",
  );
  assertEquals(planRestore(save(NAT, [accept, reject]), wanted(), [SPEC])!.text, expected);
  assertEquals(
    planRestore(save(NAT, [FILTER[0]!, accept, reject, ...FILTER.slice(1)]), wanted(), [SPEC])!
      .text,
    expected.replace("-A FLANNEL-FWD", `-D FORWARD ${FWD} -j FLANNEL-FWD\n-A FLANNEL-FWD`),
  );
  // Only what stops every packet counts.
  const some = "-A FORWARD -i eth0 -j REJECT --reject-with icmp-host-prohibited";
  assertEquals(
    planRestore(save(NAT, [FILTER[0]!, some, ...FILTER.slice(1)]), wanted(), [SPEC]),
    undefined,
  );
});

/** The rules of Docker 28, as far as they matter. */
function docker(user: readonly string[], raw: readonly string[]): SavedRules {
  return parseSave(
    ["*filter", ":FORWARD ACCEPT [0:0]", ":DOCKER - [0:0]", ":DOCKER-USER - [0:0]"]
      .concat(user, "COMMIT", "*raw", ":PREROUTING ACCEPT [0:0]", raw, "COMMIT").join("\n"),
  );
}

const DROPS = [
  "-A PREROUTING -d 10.20.93.2/32 ! -i docker0 -j DROP",
  "-A PREROUTING -d 10.20.93.0/24 ! -i docker0 -j DROP",
];

const ONLY_OVERLAY = wanted({
  ipMasq: false,
  forward: false,
  ingress: { device: "flannel.1" },
});

Deno.test("planRestore() accepts the overlay's packets at the end of DOCKER-USER and first in raw", () => {
  const plan = planRestore(docker([], DROPS), ONLY_OVERLAY, [SPEC])!;
  assertEquals(
    plan.text,
    text(
      ...["*filter", ":FLANNEL-IN - [0:0]", INPUT[2]!, INPUT[1]!, "COMMIT"],
      ...["*raw", ":FLANNEL-RAW - [0:0]", RAW[2]!],
      ...[RAW[1]!.replace("-A PREROUTING", "-I PREROUTING 1"), "COMMIT"],
    ),
  );
  assertEquals(
    planRestore(docker(INPUT, [...RAW, ...DROPS]), ONLY_OVERLAY, [SPEC]),
    undefined,
  );
});

/** Rules of DOCKER-USER and of raw PREROUTING, and what `planRestore()` moves. */
const PLACES: readonly (readonly [
  what: string,
  user: readonly string[],
  raw: readonly string[],
  moves: readonly string[],
])[] = [
  ["an administrator's drop before", ["-A DOCKER-USER -s 192.0.2.0/24 -j DROP", ...INPUT], RAW, []],
  ["an administrator's drop after", [...INPUT, "-A DOCKER-USER -s 192.0.2.0/24 -j DROP"], RAW, [
    `-A DOCKER-USER ${OVERLAY} -j FLANNEL-IN`,
  ]],
  ["the RETURN of older Dockers after", [...INPUT, "-A DOCKER-USER -j RETURN"], RAW, []],
  ["the RETURN of older Dockers before", ["-A DOCKER-USER -j RETURN", ...INPUT], RAW, [
    `-I DOCKER-USER 1 ${OVERLAY} -j FLANNEL-IN`,
  ]],
  [
    "dead rules after a RETURN",
    [
      ...INPUT,
      "-A DOCKER-USER -j RETURN",
      "-A DOCKER-USER -s 192.0.2.0/24 -j DROP",
    ],
    RAW,
    [],
  ],
  [
    "another network's jump after",
    [
      ...INPUT,
      ":FLANNEL-IN-green - [0:0]",
      `-A DOCKER-USER ${OVERLAY} -j FLANNEL-IN-green`,
    ],
    RAW,
    [],
  ],
  ["a drop of Docker's before", INPUT, [DROPS[0]!, ...RAW], [
    `-I PREROUTING 1 ${OVERLAY} -j FLANNEL-RAW`,
  ]],
  ["an administrator's rule before", INPUT, [
    "-A PREROUTING -s 192.0.2.0/24 -j DROP",
    ...RAW,
    ...DROPS,
  ], []],
  ["a trace before", INPUT, ["-A PREROUTING -p icmp -j TRACE", ...RAW, ...DROPS], []],
];

for (const [what, user, raw, moves] of PLACES) {
  Deno.test(`planRestore() keeps the places of the jumps from Docker's chains: ${what}`, () => {
    const plan = planRestore(docker(user, raw), ONLY_OVERLAY, [SPEC]);
    const jumps = (plan?.text ?? "").split("\n").filter((line) => /^-[AI] [DP]/.test(line));
    assertEquals(jumps, moves);
  });
}

Deno.test("hasDockerChains() takes DOCKER-USER alone for an administrator's preparation", () => {
  assert(hasDockerChains(docker([], [])));
  assert(!hasDockerChains(save(NAT, [...FILTER, ":DOCKER-USER - [0:0]"])));
  assert(!hasDockerChains(new Map()));
});

Deno.test("foreignWeight() counts rules of other programs only", () => {
  assertEquals(foreignWeight(new Map(), [SPEC]), 0);
  assertEquals(foreignWeight(save(NAT, FILTER), [SPEC]), 1, "FORWARD's policy DROP");
  assertEquals(
    foreignWeight(
      save([
        ...NAT,
        ":DOCKER - [0:0]",
        "-A DOCKER -i docker0 -j RETURN",
        "-A POSTROUTING -s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
      ], FILTER),
      [SPEC],
    ),
    3,
    "policy, chain DOCKER and its rule; not 0.7.1's",
  );
});

// A model of iptables-restore --noflush for the features that plans use, so that a thousand rule sets can
// be tried. tests/kernel uses the real program.

type Model = Map<string, Map<string, { policy: string; rules: string[] }>>;

const BUILT_IN: Record<"nat" | "filter" | "raw", string[]> = {
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  raw: ["PREROUTING", "OUTPUT"],
};

function restore(model: Model, input: string): void {
  let table: Map<string, { policy: string; rules: string[] }> | undefined;
  const rulesOf = (name: string) => {
    const chain = table?.get(name);
    if (chain === undefined) throw new Error(`no chain ${name}`);
    return chain.rules;
  };
  for (const line of input.split("\n")) {
    const [, command, chain, rest = ""] = /^-([ADIX]) (\S+) ?(.*)$/.exec(line) ?? [];
    if (line.startsWith("*")) {
      const name = line.slice(1);
      table = model.get(name) ?? new Map();
      model.set(name, table);
      for (const built of BUILT_IN[name as keyof typeof BUILT_IN]) {
        if (!table.has(built)) table.set(built, { policy: "ACCEPT", rules: [] });
      }
    } else if (line.startsWith(":")) {
      const name = line.slice(1, line.indexOf(" "));
      if (table!.get(name)?.policy !== "-" && table!.has(name)) throw new Error(`flushes ${name}`);
      table!.set(name, { policy: "-", rules: [] });
    } else if (command === "A") {
      rulesOf(chain!).push(rest);
    } else if (command === "I") {
      const [, at, rule] = /^(\d+) (.*)$/.exec(rest)!;
      rulesOf(chain!).splice(Number(at) - 1, 0, rule!);
    } else if (command === "D") {
      const at = rulesOf(chain!).indexOf(rest);
      if (at < 0) throw new Error(`no such rule: ${line}`);
      rulesOf(chain!).splice(at, 1);
    } else if (command === "X") {
      if (rulesOf(chain!).length > 0) throw new Error(`${chain} is not empty`);
      for (const { rules } of table!.values()) {
        for (const rule of rules) {
          if (splitWords(rule).includes(chain!)) throw new Error(`${chain} is in use`);
        }
      }
      table!.delete(chain!);
    } else if (line !== "COMMIT" && line !== "") {
      throw new Error(`not understood: ${line}`);
    }
  }
}

const FOREIGN_RULES = [
  "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
  "-j DOCKER",
  "-s 10.20.0.0/16 -j ACCEPT",
  "-s 10.20.0.0/16 -o eth0 -j MASQUERADE",
  '-m comment --comment "see FLANNEL-FWD and -j FLANNEL-POSTRTG" -j ACCEPT',
  "-j REJECT --reject-with icmp-host-prohibited",
  "-j DROP",
  "-j FLANNEL-FWD-OF-OTHERS",
  "-d 10.20.93.2/32 ! -i docker0 -j DROP",
  "-j RETURN",
];

const OUR_RULES = [...NAT, ...FILTER, ...INPUT, ...RAW]
  .filter((line) => line.startsWith("-A "))
  .map((line) => line.replace(/^-A \S+ /, ""))
  .concat(
    "-j FLANNEL-POSTRTG",
    "-p tcp -g FLANNEL-FWD",
    "-s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
    "-s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "! -s 10.20.0.0/16 -d 10.20.93.0/24 -j RETURN",
    "! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
  );

const ruleList = fc.array(
  fc.oneof(fc.constantFrom(...FOREIGN_RULES), fc.constantFrom(...OUR_RULES)),
  { maxLength: 12 },
);

const tableModel = (table: keyof typeof BUILT_IN) => {
  const names = ownChains(undefined).filter((chain) => chain.table === table)
    .map(({ name }) => name);
  return fc.record({
    own: fc.dictionary(fc.constantFrom(...names), ruleList),
    others: fc.dictionary(
      fc.constantFrom(...BUILT_IN[table], "DOCKER", "DOCKER-USER", "FLANNEL-FWD-OF-OTHERS"),
      ruleList,
    ),
  }).map(({ own, others }) => {
    const chains = new Map<string, { policy: string; rules: string[] }>();
    for (const name of BUILT_IN[table]) {
      chains.set(name, { policy: "ACCEPT", rules: [...(others[name] ?? [])] });
    }
    // Docker's, which flanneld never makes.
    for (const [name, rules] of Object.entries({ "DOCKER-USER": [], ...others, ...own })) {
      if (!chains.has(name)) chains.set(name, { policy: "-", rules: [...rules] });
    }
    // No kernel holds a jump to a chain that is not there.
    for (const name of names) {
      const jumps = [...chains.values()].some(({ rules }) =>
        rules.some((rule) => splitWords(rule).includes(name))
      );
      if (jumps && !chains.has(name)) chains.set(name, { policy: "-", rules: [] });
    }
    return chains;
  });
};

const model = fc.record({
  nat: tableModel("nat"),
  filter: tableModel("filter"),
  raw: tableModel("raw"),
}).map((tables): Model => new Map(Object.entries(tables)));

const desires = fc.constantFrom(
  wanted(),
  wanted({ ipMasq: false }),
  wanted({ forward: false }),
  wanted({ ipMasq: false, forward: false }),
  wanted({ ingress: { device: "flannel.1" } }),
  wanted({ forward: false, ingress: { device: "flannel.1" } }),
  NOTHING,
);

/** The rules of others, in their chains and their order. */
function foreignRules(model: Model): unknown {
  const own = new Set(ownChains(undefined).map((chain) => chain.name));
  return [...model].map(([table, chains]) => [
    table,
    [...chains].filter(([name]) => !own.has(name)).map(([name, { policy, rules }]) => [
      name,
      policy,
      rules.filter((rule) => FOREIGN_RULES.includes(rule)),
    ]),
  ]);
}

Deno.test("planRestore() is carried out at once, whatever the host's rules are", () => {
  fc.assert(
    fc.property(model, desires, (start, desired) => {
      const rules = structuredClone(start);
      const plan = planRestore(rules, desired, [SPEC]);
      if (plan === undefined) return;
      const before = foreignRules(rules);
      restore(rules, plan.text);
      assertEquals(planRestore(rules, desired, [SPEC]), undefined);
      assertEquals(foreignRules(rules), before);
      for (const chain of ownChains(undefined)) {
        const exists = rules.get(chain.table)!.has(chain.name);
        assertEquals(exists, desired(chain) !== undefined, chain.name);
        const jumps = [...rules.get(chain.table)!.values()].flatMap((one) => one.rules)
          .filter((rule) => splitWords(rule).includes(chain.name));
        assertEquals(jumps.length, exists ? 1 : 0, chain.name);
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("planRestore() of nothing removes all rules of flanneld", () => {
  fc.assert(fc.property(model, (start) => {
    const rules = structuredClone(start);
    const plan = planRestore(rules, NOTHING, [SPEC]);
    if (plan !== undefined) restore(rules, plan.text);
    assert(!hasOwnRules(rules, [SPEC]));
  }));
});
