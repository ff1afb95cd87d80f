import { basename, dirname } from "node:path/posix";

/**
 * Where the socket of an agent is, unless it is told: beside its subnet file, so that two agents do not meet.
 * `/run/flannel/flanneld.sock` for `/run/flannel/subnet.env`, `/run/flannel/blue.sock` for
 * `/run/flannel/blue.env`.
 */
export function defaultSocketPath(subnetFile: string): string {
  const name = basename(subnetFile).replace(/\.env$/, "");
  const directory = dirname(subnetFile);
  return `${directory === "/" ? "" : directory}/${name === "subnet" ? "flanneld" : name}.sock`;
}
