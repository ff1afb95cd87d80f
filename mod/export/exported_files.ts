import { dirname, join } from "node:path/posix";
import { parseDotenv } from "./dotenv.ts";

/** Default output file of mk-docker-opts.sh. */
const DOCKER_OPTS = "/run/docker_opts.env";

/** A file that flanneld wrote, or that could be mistaken for it. */
export interface ExportedFile {
  readonly path: string;
  /** Why flanneld did not write the file, so that it stays; absent when flanneld wrote it. */
  readonly foreign?: string;
}

/**
 * Finds the files that an agent and mk-docker-opts.sh have written.
 *
 * Recognizes subnet.env by its variables. Recognizes a file for Docker when all lines are variables and one of
 * them has the bridge address of subnet.env. Searches for it beside subnet.env under the name of the CentOS
 * package, and at the script's default path.
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
    return [{ path: subnetFile, foreign: "it has no FLANNEL_SUBNET, so flannel did not write it" }];
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
  // Last, since it identifies the other files.
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
