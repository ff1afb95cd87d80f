import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { completions, type Shell } from "./completions.ts";
import { FLAGS } from "../flags/flags.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

const SUBCOMMAND_NAMES = SUBCOMMANDS.map(({ name }) => name);

/** Words that complete the command line, by the shell itself, sorted. */
type Complete = (line: readonly string[]) => Promise<string[]>;

async function output(command: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr, success } = await new Deno.Command(command, { args: [...args] }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Bash: what its function makes of the words as readline cuts them, a `=` on its own. */
const bash = (script: string): Complete => async (line) => {
  const words = line.flatMap((word) => {
    const [, flag, value] = /^(-+[\w-]+)=(.*)$/.exec(word) ?? [];
    return flag === undefined ? [word] : value === "" ? [flag, "="] : [flag, "=", value!];
  });
  const text = await output("bash", [
    ...["--norc", "-c"],
    'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _flanneld; ' +
    'printf "%s\\n" "${COMPREPLY[@]}"',
    ...["bash", script, ...words],
  ]);
  return text.split("\n").filter((word) => word !== "").sort();
};

const fish = (script: string): Complete => async (line) => {
  const text = await output("fish", [
    ...["--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', script, line.join(" ")],
  ]);
  return text.split("\n").map((row) => row.split("\t")[0]!).filter((word) => word !== "").sort();
};

const SHELLS: readonly (readonly [Shell, (script: string) => Complete])[] = [
  ["bash", bash],
  ["fish", fish],
];

for (const [shell, completer] of SHELLS) {
  Deno.test(`completions() teaches ${shell} the tables of flags and subcommands`, async (t) => {
    const path = await Deno.makeTempFile({ suffix: `.${shell}` });
    try {
      await Deno.writeTextFile(path, await completions(shell, SUBCOMMANDS));
      const complete = completer(path);
      await t.step("subcommands, and the words behind them", async () => {
        assertEquals(await complete(["flanneld", ""]), [...SUBCOMMAND_NAMES].sort());
        assertEquals(await complete(["flanneld", "pl"]), ["plan"]);
        const verbs = ["delete", "get", "set", "validate"];
        assertEquals(await complete(["flanneld", "config", ""]), verbs);
        const shells = ["bash", "fish", "zsh"];
        assertEquals(await complete(["flanneld", "completions", ""]), shells);
      });
      await t.step("flags of the agent", async () => {
        const flags = await complete(["flanneld", "-"]);
        for (const flag of FLAGS) {
          const there = !("missing" in flag) && !("noEffect" in flag);
          assertEquals(flags.includes(`-${flag.name}`), there, flag.name);
        }
        assert(!flags.includes("-yes"));
      });
      await t.step("flags of a subcommand, with the agent's where it takes them", async () => {
        const set = await complete(["flanneld", "config", "set", "-"]);
        assert(set.includes("-yes") && set.includes("-sysconfig") && set.includes("-etcd-prefix"));
        const get = await complete(["flanneld", "config", "get", "-"]);
        assert(!get.includes("-yes") && get.includes("-etcd-prefix"));
        const opts = await complete(["flanneld", "docker-opts", "-"]);
        assert(opts.includes("-k") && !opts.includes("-etcd-prefix"));
      });
      await t.step("values", async () => {
        const apis = ["auto", "v2", "v3"];
        assertEquals(await complete(["flanneld", "-etcd-api", ""]), apis);
        assertEquals(await complete(["flanneld", "plan", "-ip-masq", "-etcd-api", "v"]), [
          "v2",
          "v3",
        ]);
        assert((await complete(["flanneld", "-iface", "l"])).includes("lo"));
        const file = path.slice(0, -1);
        assertEquals(await complete(["flanneld", "-etcd-cafile", file]), [path]);
        assertEquals(await complete(["flanneld", "config", "set", file]), [path]);
        assertEquals(await complete(["flanneld", "-etcd-endpoints", ""]), []);
      });
      if (shell === "bash") {
        await t.step("values behind =, and two dashes", async () => {
          assertEquals(await complete(["flanneld", "-etcd-api="]), ["auto", "v2", "v3"]);
          assertEquals(await complete(["flanneld", "--etcd-api=v"]), ["v2", "v3"]);
          assertEquals(await complete(["flanneld", "--etcd-ap"]), ["--etcd-api"]);
        });
      }
    } finally {
      await Deno.remove(path);
    }
  });
}

Deno.test("completions() teaches zsh the tables of flags and subcommands", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/_flanneld`, await completions("zsh", SUBCOMMANDS));
    // A zsh with a terminal of its own: types, presses Tab, and shows what the line has become.
    const driver = `
      zmodload zsh/zpty
      zpty z env TERM=dumb zsh -f -i
      zpty -w z "PROMPT= PS2= fpath=($1 \\$fpath); autoload -U compinit; compinit -u -D"
      zpty -w z "show() { print -r -- \\"<\\$BUFFER>\\"; BUFFER=; }; zle -N show; bindkey '^X' show"
      zpty -w z "print rea''dy"
      zpty -r z line '*ready*'
      for line in "\${@:2}"; do
        zpty -n -w z "$line"$'\\t\\x18'
        zpty -r z line '*<*>*'
        print -r -- "$line"
      done
      zpty -d z
    `;
    const typed = {
      "flanneld pl": "flanneld plan ",
      "flanneld config v": "flanneld config validate ",
      "flanneld completions f": "flanneld completions fish ",
      "flanneld -etcd-pre": "flanneld -etcd-prefix=",
      "flanneld -etcd-api=au": "flanneld -etcd-api=auto ",
      "flanneld -etcd-api au": "flanneld -etcd-api auto ",
      "flanneld config set -y": "flanneld config set -yes ",
      "flanneld plan -firewall nf": "flanneld plan -firewall nftables ",
      "flanneld docker-opts -etcd-pre": "flanneld docker-opts -etcd-pre",
      [`flanneld config set ${directory}/_fl`]: `flanneld config set ${directory}/_flanneld `,
    };
    const text = await output("timeout", [
      ...["60", "zsh", "-f", "-c", driver, "zsh", directory, ...Object.keys(typed)],
    ]);
    for (const line of Object.values(typed)) assertStringIncludes(text, `<${line}>`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
