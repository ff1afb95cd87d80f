import { dirname, join } from "node:path/posix";
import { parseDotenv } from "./dotenv.ts";

/** Where mk-docker-opts.sh writes when it is not told. */
const DOCKER_OPTS = "/run/docker_opts.env";

/** A file of ours, or one that could be taken for it. */
export interface ExportedFile {
  readonly path: string;
  /** Why it is not ours to remove; absent when it is. */
  readonly foreign?: string;
}

/**
 * Finds the files that an agent and mk-docker-opts.sh have written.
 *
 * subnet.env is ours by its variables. A file for Docker is ours when all of it is variables and one
 * of them has the bridge's address that subnet.env gives; it is looked for beside subnet.env under the
 * name of the CentOS package, and where the script writes by itself.
 *
 * @param dockerOpts @default "/run/docker_opts.env"
 */
export async function findExportedFiles(
  subnetFile: string,
  dockerOpts = DOCKER_OPTS,
): Promise<ExportedFile[]> {
  const text = await read(subnetFile);
  if (text === undefined) return [];
  const variables = parseDotenv(text);
  const subnet = variables.get("FLANNEL_SUBNET");
  if (subnet === undefined) {
    return [{ path: subnetFile, foreign: "it has no FLANNEL_SUBNET, so it is none of flannel's" }];
  }
  const files: ExportedFile[] = [];
  for (const path of [join(dirname(subnetFile), "docker"), dockerOpts]) {
    const docker = await read(path);
    if (docker === undefined) continue;
    files.push(
      isDockerFile(docker, subnet) ? { path } : {
        path,
        foreign: `it does not have --bip=${subnet} in variables and nothing else`,
      },
    );
  }
  // Last, since it is what the others are told by.
  return [...files, { path: subnetFile }];
}

function isDockerFile(text: string, subnet: string): boolean {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.every((line) => /^[A-Za-z_]\w*="/.test(line)) &&
    lines.some((line) => line.split(/[" ]/).includes(`--bip=${subnet}`));
}

async function read(path: string): Promise<string | undefined> {
  try {
    return (await Deno.stat(path)).isFile ? await Deno.readTextFile(path) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
