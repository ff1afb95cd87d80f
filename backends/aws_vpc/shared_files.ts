import type { AwsEnvironment } from "./environment.ts";

/** A section of the shared files: keys in lower case. */
export type Profile = ReadonlyMap<string, string>;

/** Settings of one profile in the shared files. */
export interface SharedProfile {
  readonly name: string;
  /** True when the environment asked for it by name. */
  readonly isNamed: boolean;
  /** Files that were looked for. */
  readonly paths: readonly string[];
  /** From both files; the credentials file's values win. Absent when neither has the profile. */
  readonly values: Profile | undefined;
}

/**
 * Reads the profile that the environment names, or `default`, from AWS's shared credentials and
 * config files. A file that is not there is as good as an empty one.
 *
 * @throws {Deno.errors.PermissionDenied} and what else reading a file may throw
 */
export async function readSharedProfile(env: AwsEnvironment): Promise<SharedProfile> {
  const home = env.get("HOME");
  const named = env.get("AWS_PROFILE", "AWS_DEFAULT_PROFILE");
  const name = named ?? "default";
  const credentialsPath = env.get("AWS_SHARED_CREDENTIALS_FILE") ?? inHome(home, "credentials");
  const configPath = env.get("AWS_CONFIG_FILE") ?? inHome(home, "config");
  const credentials = parseIni(await readIfThere(credentialsPath)).get(name);
  const sections = parseIni(await readIfThere(configPath));
  // The config file has `[profile NAME]`, but `[default]`.
  const config = sections.get(`profile ${name}`) ??
    (name === "default" ? sections.get("default") : undefined);
  const values = credentials === undefined && config === undefined
    ? undefined
    : new Map([...config ?? [], ...credentials ?? []]);
  return {
    name,
    isNamed: named !== undefined,
    paths: [credentialsPath, configPath].filter((path) => path !== undefined),
    values,
  };
}

function inHome(home: string | undefined, file: string): string | undefined {
  return home === undefined ? undefined : `${home}/.aws/${file}`;
}

async function readIfThere(path: string | undefined): Promise<string> {
  if (path === undefined) return "";
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return "";
    }
    throw error;
  }
}

/**
 * Reads the INI dialect of the AWS command line: sections, `key = value`, comment lines with `#` or `;`, a
 * comment after a value behind white space. An indented line belongs to a key of its own kind
 * (`s3 =`) that nothing here reads. Lines that are none of this are left out.
 */
export function parseIni(text: string): Map<string, Profile> {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  for (const line of text.replace(/^\ufeff/, "").split(/\r?\n/)) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const heading = /^\[([^\]]*)\]/.exec(line)?.[1];
    if (heading !== undefined) {
      const name = heading.trim().replace(/\s+/g, " ");
      section = sections.get(name) ?? new Map();
      sections.set(name, section);
      continue;
    }
    const pair = /^([^\s=][^=]*)=(.*)$/.exec(line);
    if (pair === null) continue;
    const value = pair[2]!.trim();
    const comment = value.search(/\s[#;]/);
    section?.set(
      pair[1]!.trim().toLowerCase(),
      comment < 0 ? value : value.slice(0, comment).trim(),
    );
  }
  return sections;
}
