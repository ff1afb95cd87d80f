import type { BundledPackage } from "../build/bundle.ts";
import { type BundledLibc, LIBRARIES } from "../build/bundled_libc.ts";

/** A part of the executable besides the npm packages and the Rust crates. */
interface RuntimePart {
  readonly name: string;
  /** SPDX license expression, or a word where SPDX has none. */
  readonly license: string;
  /** File in `licenses/` that holds the text. @default none: the text is at `home` */
  readonly text?: string;
  readonly home: string;
}

/**
 * Deno's parts in other languages than Rust that the executable shows signs of: names in its strings and symbols. No
 * release of Deno comes with the licenses of its parts.
 */
const RUNTIME_PARTS: readonly RuntimePart[] = [
  { name: "Deno", license: "MIT", text: "deno.txt", home: "https://github.com/denoland/deno" },
  {
    name: "V8",
    license: "BSD-3-Clause",
    text: "v8.txt",
    home: "https://chromium.googlesource.com/v8/v8",
  },
  { name: "ICU, of V8", license: "Unicode-3.0", text: "icu.txt", home: "https://icu.unicode.org" },
  {
    ...{ name: "Node.js, whose modules Deno adapts", license: "MIT", text: "node.txt" },
    home: "https://github.com/nodejs/node",
  },
  { name: "Abseil, of V8", license: "Apache-2.0", home: "https://github.com/abseil/abseil-cpp" },
  {
    ...{ name: "libc++, of V8", license: "Apache-2.0 WITH LLVM-exception" },
    home: "https://github.com/llvm/llvm-project",
  },
  {
    name: "AWS-LC",
    license: "ISC AND (Apache-2.0 OR ISC) AND OpenSSL",
    home: "https://github.com/aws/aws-lc",
  },
  { name: "libffi", license: "MIT", home: "https://github.com/libffi/libffi" },
  { name: "Little CMS", license: "MIT", home: "https://github.com/mm2/Little-CMS" },
  { name: "SQLite", license: "public domain", home: "https://sqlite.org" },
  { name: "Zstandard", license: "BSD-3-Clause", home: "https://github.com/facebook/zstd" },
  { name: "zlib-ng", license: "Zlib", home: "https://github.com/zlib-ng/zlib-ng" },
];

/** A Rust crate in the executable. */
export interface Crate {
  readonly name: string;
  readonly version: string;
}

/**
 * Path of a crate's source, which a panic's message names: `index.crates.io-1949cf8c6b5b557f/url-2.5.4/src/lib.rs`.
 */
const CRATE_PATH = /index\.crates\.io-[0-9a-f]+\/([\w-]+?)-(\d+\.\d+\.\d+[\w.+-]*)\//g;

/** Returns the crates that an executable names, sorted. A crate that cannot panic is not among them. */
export function cratesOf(executable: string): Crate[] {
  const found = new Map<string, Crate>();
  for (const [, name, version] of executable.matchAll(CRATE_PATH)) {
    found.set(`${name} ${version}`, { name: name!, version: version! });
  }
  return [...found.keys()].sort().map((key) => found.get(key)!);
}

/** Input of {@linkcode thirdPartyLicenses}. */
export interface EmbeddedParts {
  readonly packages: readonly BundledPackage[];
  /** Version of Deno. */
  readonly runtime: string;
  readonly crates: readonly Crate[];
  /** The C library that comes with the executable. @default none */
  readonly libc?: Pick<BundledLibc, "packages" | "licenses" | "libraries">;
}

const RULE = "=".repeat(80);

/**
 * Lists all that the executable embeds, with the texts of the licenses; names each part whose text is not at hand.
 *
 * @param root directory of deno.json
 */
export async function thirdPartyLicenses(root: string, parts: EmbeddedParts): Promise<string> {
  const { packages, runtime, crates, libc } = parts;
  const withText = RUNTIME_PARTS.filter(({ text }) => text !== undefined);
  const withoutText = RUNTIME_PARTS.filter(({ text }) => text === undefined);
  const sections = await Promise.all(withText.map(async ({ name, license, text, home }) =>
    section(
      [`${name}: ${license}`, home],
      await Deno.readTextFile(`${root}/scripts/package/licenses/${text}`),
    )
  ));
  const texts = Map.groupBy(
    packages.flatMap((part) => part.texts.map((text) => ({ part, text }))),
    ({ text }) => text,
  );
  for (const [text, holders] of texts) {
    const lines = holders.map(({ part }) => `${part.name} ${part.version}: ${part.license}`);
    sections.push(section(lines, text));
  }
  sections.push(...libc === undefined ? [] : librarySections(libc));
  const textless = packages.filter(({ texts }) => texts.length === 0);
  return `Licenses of the software that the executable of flanneld embeds. The license of
flanneld itself is in the file LICENSE.

Deno ${runtime}, its parts, and ${packages.length} npm packages: the texts of their licenses follow.

Parts of Deno whose license texts no release of Deno comes with; the text is at the address:

${withoutText.map(({ name, license, home }) => `  ${name}: ${license}, ${home}\n`).join("")}
npm packages that name a license but come without its text:

${textless.map(({ name, version, license }) => `  ${name} ${version}: ${license}\n`).join("")}
Rust crates in Deno that the executable names. Neither Deno nor the executable comes
with their licenses; each is at https://crates.io/crates/NAME/VERSION:

${crates.map(({ name, version }) => `  ${name} ${version}\n`).join("")}
${sections.join("\n")}`;
}

/** The copyright files of Debian's packages, and the licenses that they name. */
function librarySections({ packages, licenses }: NonNullable<EmbeddedParts["libc"]>): string[] {
  return [
    ...packages.map(({ name, version, source, sourceVersion, license, copyright }) =>
      section([
        `The libraries in ${LIBRARIES} of Debian's package ${name} ${version}: ${license}`,
        `Unchanged; the source is Debian's source package ${source} ${sourceVersion}:`,
        `https://snapshot.debian.org/package/${source}/${encodeURIComponent(sourceVersion)}/`,
      ], copyright)
    ),
    ...[...licenses].map(([name, text]) => section([`${name}, of the libraries above`], text)),
  ];
}

function section(lines: readonly string[], text: string): string {
  return `${RULE}\n${lines.join("\n")}\n${RULE}\n\n${text.trim()}\n`;
}
