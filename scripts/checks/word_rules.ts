/**
 * Words that this project does not use, each with the field's word for it. The rules apply to every text of the
 * tree: comments, messages, identifiers and documents.
 *
 * @module
 */

/** A word that the project does not use. */
interface WordRule {
  /** Matches the word within one line. */
  readonly pattern: RegExp;
  /** The words to use. */
  readonly instead: string;
}

/** Words of prose; identifiers of one of them are rejected, too. */
const WORDS: readonly WordRule[] = [
  { pattern: /\b(?:tells?|told|telling)\b/i, instead: "report, log, return, show" },
  { pattern: /\banew\b/i, instead: "again" },
  { pattern: /\b(?:mend(?:s|ed|ing)?|cure(?:s|d)?)\b/i, instead: "fix, repair" },
  { pattern: /\b(?:ours|theirs)\b/, instead: "managed by flanneld; or name the noun" },
  { pattern: /\bsettles?\b|\bsettling\b/, instead: "reconcile" },
  { pattern: /\bgo(?:es|ing|ne)? over to\b|\bwent over to\b/i, instead: "switch to" },
  {
    pattern: /\bt(?:ake[ns]?|aking|ook) (?:it |them |all |\w+ of ours )?(?:away|down)\b/i,
    instead: "remove, record",
  },
  { pattern: /\blook(?:s|ed|ing)? (?:at|over|into)\b/i, instead: "check, poll, read" },
  { pattern: /\bleft-?overs?\b/i, instead: "stale state" },
  { pattern: /\btroubles?\b|\btroubled\b/i, instead: "warnings" },
  { pattern: /\bsuper-?packets?\b|\buncut\b|\btrains\b/i, instead: "GSO packets, segment batches" },
  { pattern: /(?<!next[ -])\bhops?\b(?![ -]limit)/i, instead: "GRO path, GRO device; next hop" },
  { pattern: /\bechoes\b/i, instead: "ICMP echo requests" },
  {
    pattern: /\b(?:an|one|each|every|the) echo\b(?! (?:request|reply|message|packet|frame)|$)/i,
    instead: "ICMP echo request",
  },
  { pattern: /\bto the byte\b/i, instead: "byte for byte" },
  { pattern: /\breal flannel\b/i, instead: "upstream flannel" },
  { pattern: /\bagent(?:'s)? records?\b/i, instead: "node record" },
  { pattern: /\bheld polls?\b/i, instead: "long poll" },
  { pattern: /\bwrong command lines?\b/i, instead: "usage error" },
  { pattern: /\bforwarding entr(?:y|ies)\b/i, instead: "FDB entry" },
  { pattern: /\blegacy form\b/i, instead: "iptables-legacy" },
  { pattern: /\b(?:rooms of|of|up) the house\b/i, instead: "layers, modules" },
  { pattern: /\bthe gate\b/i, instead: "checks" },
  { pattern: /\bfigures?\b/i, instead: "benchmarks, measurements" },
];

const SAY: WordRule = { pattern: /\b(?:says?|said|saying)\b/i, instead: "report, log, return" };

/** Words that are common in code or data, and rejected in comments and documents only. */
const PROSE_WORDS: readonly WordRule[] = [
  SAY,
  { pattern: /\bforeign\b/i, instead: "not managed by flanneld; untrusted, of another program" },
  { pattern: /\bsuspicion\b|\bdoubts?\b/i, instead: "name the reason" },
];

/** Identifiers. */
const IDENTIFIERS: readonly WordRule[] = [
  {
    pattern: /\b(?:GroHop|HopGate|byHop)\b/,
    instead: "GroDevice, GroPathMonitor, redirectThroughGro",
  },
  {
    pattern: /\b(?:TrainVector|DOZE|GLIMPSE)\b|\bcouple\(/,
    instead: "SegmentBatch, IDLE_POLL_MS, PEEK_BYTES",
  },
  { pattern: /\bKin\b|#strangers\b|\bisSpread\b/, instead: "RouteGroup, #unrouted, isMultipath" },
  { pattern: /\bHostClaims\b/, instead: "HostRegistry" },
  { pattern: /\w+Leftovers?\b/, instead: "StaleState" },
  { pattern: /\bMortal\b|\b(?:class|new) Lifetimes\b/, instead: "ExpiringEntry, ExpiryQueue" },
  { pattern: /\bVitals\b|\bStateLog\b/, instead: "AgentMetrics, WarningLog" },
  {
    pattern: /\bInquiry\b|\bExamination\b|\b(?:class|new) Known\b/,
    instead: "PeerProbe, HostFacts, StoreView",
  },
  { pattern: /\b(?:put|remove)Agent\b/, instead: "putNodeRecord, removeNodeRecord" },
  {
    pattern: /\bsuspicion\(|\bdoubt\(/,
    instead: "foreignLeaseReason(), recheckEndpoint()",
  },
  {
    pattern: /\bDeadline\(Infinity, \(\) => undefined, (?!\.\.\.)/,
    instead: "linkedSignal()",
  },
  {
    pattern: /\bWholeSession\b|\bNotOursError\b/,
    instead: "NativeSession, UnsupportedServerError",
  },
  {
    pattern:
      /\bWish\b|\beveryStep\b|\b(?:class|new) Pace\b|\bPATIENCE\w*|\bpatience\b|\bLONGEST\w*/,
    instead: "InterfaceSelector, runAll, TokenBucket, TIMEOUT_MS, MAX_BYTES",
  },
];

/** Sources whose strings an operator reads: messages and help. */
const MESSAGES = /^(?:mod|backends)\/.*(?<!_test)\.ts$/;

/** A sentence or list item that begins with "What" or "Who", up to its end. */
const SENTENCE =
  /(?:^|\n\s*\n|[.:;!?]\)?\s|\n\s*(?:[-*]|\d+\.)\s)\s*(What|Who|Whoever)\b[^.?]*\??/g;

/** Source files with `//` and `/* *\/` comments. */
const C_COMMENTS = /\.(?:ts|js|css)$/;

/** Strings, template strings and regular expressions, before which a comment cannot begin. */
const TOKEN =
  /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|(?<=[(,=:[!&|?{};\n]\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//g;

/** Paths that a rule's own words are in, or other programs' texts. */
const EXEMPT =
  /^(?:deno\.lock$|scripts\/checks\/word_rules(?:_test)?\.ts$|LICENSE$|scripts\/package\/licenses\/|docs\/guide\.zh\.md$)|\.(?:png|gz|bin)$/;

/** Returns whether the rules apply to a file. */
export function hasWordRules(path: string): boolean {
  return !EXEMPT.test(path);
}

/**
 * Finds words that the project does not use, and sentences of comments and documents that begin with "What" or
 * "Who".
 *
 * @param path relative to the project's root
 * @returns one line each: `mod/x.ts:12: "anew": again`
 */
export function wordProblems(path: string, text: string): string[] {
  const problems: string[] = [];
  const report = (line: number, word: string, instead: string) =>
    problems.push(`${path}:${line}: "${word}": ${instead}`);
  const isDocument = path.endsWith(".md");
  // Entries of the changelog quote former names of what they change.
  const lines = (path === "CHANGELOG.md" ? text.replaceAll(/`[^`]*`/g, blank) : text).split("\n");
  const [comments, strings] = isDocument ? [lines, []] : partsOf(path, text);
  lines.forEach((line, at) => {
    const rules = [
      ...findAll(line, [...WORDS, ...IDENTIFIERS]),
      ...findAll(comments[at]!, PROSE_WORDS),
      ...findAll(MESSAGES.test(path) ? strings[at]! : "", [SAY]),
    ];
    for (const [word, instead] of rules) report(at + 1, word, instead);
  });
  const prose = isDocument
    ? lines.join("\n")
    : comments.join("\n").replaceAll(/^\s*(?:\/\*\*?|\*\/|\*|\/\/|#)/gm, blank);
  for (const { 0: sentence, 1: word, index } of prose.matchAll(SENTENCE)) {
    if (sentence.endsWith("?")) continue;
    const line = prose.slice(0, index + sentence.indexOf(word!)).split("\n").length;
    report(line, word!, "begin with a verb or a noun phrase");
  }
  return problems;
}

function* findAll(line: string, rules: readonly WordRule[]): Generator<[string, string]> {
  for (const { pattern, instead } of rules) {
    const match = pattern.exec(line);
    if (match !== null) yield [match[0], instead];
  }
}

/** Returns the lines of a file with all but comments blanked, and with all but strings. */
function partsOf(path: string, text: string): [comments: string[], strings: string[]] {
  if (!C_COMMENTS.test(path)) {
    const lines = text.split("\n");
    return [lines.map((line) => /^\s*#/.test(line) ? line : ""), lines.map(() => "")];
  }
  let [comments, strings] = ["", ""];
  let end = 0;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const between = blank(text.slice(end, index));
    comments += between + (/^\/[/*]/.test(token) ? token : blank(token));
    strings += between + (/^["'`]/.test(token) ? token : blank(token));
    end = index + token.length;
  }
  const rest = blank(text.slice(end));
  return [(comments + rest).split("\n"), (strings + rest).split("\n")];
}

function blank(text: string): string {
  return text.replaceAll(/[^\n]/g, " ");
}
