/**
 * The text that iptables-save writes and iptables-restore reads (iptables-save(8)).
 *
 *     *nat                                    a table
 *     :POSTROUTING ACCEPT [0:0]               a chain, its policy (`-` when it is not built in)
 *     -A POSTROUTING -s 10.20.0.0/16 -j X     a rule
 *     COMMIT
 *
 * Words are separated by blanks; a word with other than plain characters is put into double
 * quotes, in which `\` takes the character after it literally.
 *
 * @module
 */

/** One chain of a table. */
export interface SavedChain {
  /** `ACCEPT` or `DROP`; `-` for a chain that is not built in. */
  readonly policy: string;
  /** The rules in their order, each as it was written after `-A CHAIN `. */
  readonly rules: readonly string[];
}

/** Chains by name, by the table's name. */
export type SavedRules = ReadonlyMap<string, ReadonlyMap<string, SavedChain>>;

/**
 * Parses the output of iptables-save. Skips lines that are neither table, chain nor rule (comments, warnings, the rest
 * of a comment with a line feed).
 *
 * Rules stay text: a host with kube-proxy has tens of thousands, of which few are examined.
 */
export function parseSave(text: string): SavedRules {
  const tables = new Map<string, Map<string, { policy: string; rules: string[] }>>();
  let table: Map<string, { policy: string; rules: string[] }> | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      const name = line.slice(1).trim();
      table = tables.get(name) ?? new Map();
      tables.set(name, table);
    } else if (line.startsWith(":") && table !== undefined) {
      const [name, policy] = line.slice(1).split(" ");
      if (name && policy) table.set(name, { policy, rules: [] });
    } else if (line.startsWith("-A ") && table !== undefined) {
      const end = line.indexOf(" ", 3);
      const name = end < 0 ? line.slice(3) : line.slice(3, end);
      table.get(name)?.rules.push(end < 0 ? "" : line.slice(end + 1));
    } else if (line === "COMMIT") {
      table = undefined;
    }
  }
  return tables;
}

/** Splits a rule into its words; quotes and escapes are resolved. */
export function splitWords(rule: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let i = 0; i < rule.length; i++) {
    const character = rule[i]!;
    if (quoted && character === "\\" && i + 1 < rule.length) {
      word += rule[++i]!;
    } else if (character === '"') {
      quoted = !quoted;
      word ??= "";
    } else if (!quoted && (character === " " || character === "\t")) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Joins words to a rule that iptables-restore reads; the inverse of {@linkcode splitWords}. */
export function joinWords(words: readonly string[]): string {
  return words.map((word) =>
    /^[-\w!.,:/=]+$/.test(word) ? word : `"${word.replace(/["'\\]/g, "\\$&")}"`
  ).join(" ");
}

/**
 * The options of a rule, each with its values and the `!` before it, without `-m NAME`, which the
 * options of the match imply. `["-s", "10.20.0.0/16", "!", "-d", "224.0.0.0/4"]` gives
 * `["-s 10.20.0.0/16", "! -d 224.0.0.0/4"]`.
 */
export function ruleOptions(words: readonly string[]): string[] {
  const options: string[] = [];
  let negated = false;
  // A flag instead of a look-up of the last option, which would hash it again at each word.
  let takesText = false;
  for (const word of words) {
    if (takesText) {
      options[options.length - 1] += ` ${word}`;
      takesText = false;
    } else if (word === "!") {
      negated = true;
    } else if (word.startsWith("-") && word.length > 1) {
      takesText = !negated && FREE_TEXT.has(word);
      options.push(negated ? `! ${word}` : word);
      negated = false;
    } else if (options.length > 0) {
      options[options.length - 1] += ` ${word}`;
    }
  }
  return options.filter((option) => !option.startsWith("-m "));
}

/** Options with a free text as value, which may resemble an option. */
const FREE_TEXT: ReadonlySet<string> = new Set(["--comment", "--log-prefix"]);

/**
 * True when two rules do the same: the same options in any order, since the order in which
 * iptables-save writes them has changed over its versions.
 */
export function sameRule(a: readonly string[], b: readonly string[]): boolean {
  const left = ruleOptions(a).sort();
  const right = ruleOptions(b).sort();
  return left.length === right.length && left.every((option, i) => option === right[i]);
}
