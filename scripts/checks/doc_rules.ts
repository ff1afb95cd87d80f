import { dirname, join } from "node:path/posix";

/** Facts to check documents against. */
export interface DocFacts {
  /** Names of the agent's flags and of the subcommands', without a dash. */
  readonly flags: ReadonlySet<string>;
  readonly subcommands: ReadonlySet<string>;
  /** Keys of the network's config and of its backends. */
  readonly configKeys: ReadonlySet<string>;
  /** Names of metrics. */
  readonly metrics: ReadonlySet<string>;
  /** Of deno.json. */
  readonly tasks: ReadonlySet<string>;
  /** Of install.sh, with their dashes. */
  readonly installerOptions: ReadonlySet<string>;
  /** Whether a path, relative to the project's root, is there. */
  exists(path: string): Promise<boolean>;
  read(path: string): Promise<string>;
}

/** A path of the tree in a code span: placeholders and patterns are not looked up. */
const TREE_PATH = /^(?:mod|backends|tests|bench|scripts|docs)\/[\w./-]+$/;

/** A fenced block, also within a list. */
const FENCE = /^ *```.*?^ *```$/gms;

/** Ours are written with one dash; single letters and capitals are other tools'. */
const FLAG = /^-([a-z][a-z0-9_-]+)/;

/** A key of the config in a code span: `"VNI": 7` or `Backend.VNI`. */
const CONFIG_KEY = /^(?:"([A-Z]\w*)"(?::|$)|Backend\.([A-Z]\w*))/;

/** Subcommands that `flanneld` is followed by in a sentence or a listing, not a command. */
const WORDS_AFTER = new Set(["flags"]);

/**
 * Finds references that lead nowhere: files and headings that links lead to, paths in code spans,
 * subcommands, flags, variables, keys of the config, metrics and tasks.
 *
 * @param path relative to the project's root
 * @returns one line each
 */
export async function docProblems(
  path: string,
  text: string,
  facts: DocFacts,
): Promise<string[]> {
  return [
    ...await brokenLinks(path, text, facts),
    ...await brokenSpans(text, facts),
    ...brokenCommands(text, facts),
    ...unknownNames(path, text, facts),
  ].map((problem) => `${path}: ${problem}`);
}

/** GitHub's anchor of a heading: lower case, without punctuation, dashes for spaces. */
export function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").trim().replace(/\s/g, "-");
}

/** Finds links of a document to files and headings that are not there. */
export async function brokenLinks(
  path: string,
  text: string,
  facts: Pick<DocFacts, "exists" | "read">,
): Promise<string[]> {
  const problems: string[] = [];
  const prose = text.replaceAll(FENCE, "");
  for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target!)) continue;
    const [file, anchor] = target!.split("#");
    const at = file === "" ? path : join(dirname(path), file!);
    if (!await facts.exists(at)) problems.push(`link to ${target}, which is not there`);
    else if (anchor !== undefined && at.endsWith(".md")) {
      const headings = [...(await facts.read(at)).matchAll(/^#+ (.*)$/gm)];
      if (!headings.some(([, heading]) => anchorOf(heading!) === anchor)) {
        problems.push(`link to ${target}: ${at} has no such heading`);
      }
    }
  }
  return problems;
}

async function brokenSpans(text: string, facts: DocFacts): Promise<string[]> {
  const problems: string[] = [];
  for (const span of spans(text)) {
    if (TREE_PATH.test(span) && !await facts.exists(span)) {
      problems.push(`\`${span}\` is not there`);
    }
    const flag = FLAG.exec(span)?.[1];
    if (flag === undefined || facts.flags.has(flag)) continue;
    problems.push(`\`${span}\`: there is no such flag`);
  }
  return problems;
}

function brokenCommands(text: string, facts: DocFacts): string[] {
  const problems: string[] = [];
  const code = [...spans(text), ...blocks(text)].flatMap((part) =>
    part.replaceAll("\\\n", " ").split("\n").map((line) => line.trim())
  );
  for (const line of code) {
    for (const [, task] of line.matchAll(/\bdeno task ([\w:]+)/g)) {
      if (!facts.tasks.has(task!)) problems.push(`deno task ${task}: there is no such task`);
    }
    if (/\binstall\.sh\b/.test(line)) {
      for (const [option] of line.matchAll(/(?<=\s)--[a-z][a-z0-9-]+/g)) {
        if (!facts.installerOptions.has(option)) {
          problems.push(`install.sh ${option}: there is no such option`);
        }
      }
    }
    for (const [, args] of line.matchAll(/(?:^|[;&|] *)(?:\S*\/)?flanneld((?: [^\s;&|#]+)+)/g)) {
      const words = args!.trim().replace(/'[^']*'/g, "").split(" ");
      const [first] = words;
      if (/^[a-z][a-z-]+$/.test(first!) && !WORDS_AFTER.has(first!)) {
        if (!facts.subcommands.has(first!)) {
          problems.push(`flanneld ${first}: there is no such subcommand`);
        }
      }
      for (const word of words) {
        const flag = /^\[?--?([a-z][a-z0-9_-]+)/.exec(word)?.[1];
        if (flag !== undefined && !facts.flags.has(flag) && flag !== "help") {
          problems.push(`flanneld ... ${word}: there is no such flag`);
        }
      }
    }
  }
  return problems;
}

/** Finds variables without a flag, and keys and metrics that do not exist. */
function unknownNames(path: string, text: string, facts: DocFacts): string[] {
  const { flags, configKeys, metrics } = facts;
  const problems: string[] = [];
  for (const [variable, name] of text.matchAll(/\bFLANNELD_([A-Z0-9_]*[A-Z0-9])\b/g)) {
    const flag = name!.toLowerCase();
    if (flags.has(flag) || flags.has(flag.replaceAll("_", "-"))) continue;
    problems.push(`${variable}: there is no such flag`);
  }
  // Entries of the changelog quote former names.
  if (path === "CHANGELOG.md") return problems;
  for (const span of spans(text)) {
    const [, member, path] = CONFIG_KEY.exec(span) ?? [];
    const key = member ?? path;
    if (key === undefined || configKeys.has(key)) continue;
    problems.push(`\`${span}\`: the config has no key ${key}`);
  }
  for (const [, metric] of text.matchAll(/`(flanneld_[a-z_]*[a-z])[`{]/g)) {
    if (!metrics.has(metric!)) problems.push(`${metric}: there is no such metric`);
  }
  return problems;
}

function spans(text: string): string[] {
  const prose = text.replaceAll(FENCE, "");
  return [...prose.matchAll(/`([^`]+)`/g)].map(([, span]) => span!.replaceAll("\n", " "));
}

/** The text of fenced blocks of shell. */
function blocks(text: string): string[] {
  return [...text.matchAll(/^ *```sh.*?\n(.*?)^ *```$/gms)].map(([, block]) => block!);
}
