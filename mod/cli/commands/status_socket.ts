/**
 * Returns the default path of an agent's socket, beside its subnet file so that two agents do not share it:
 * `/run/flannel/flanneld.sock` for `/run/flannel/subnet.env`, `/run/flannel/blue.sock` for
 * `/run/flannel/blue.env`.
 */
export function defaultSocketPath(subnetFile: string): string {
  const at = subnetFile.lastIndexOf("/") + 1;
  const name = subnetFile.slice(at).replace(/\.env$/, "");
  return `${subnetFile.slice(0, at)}${name === "subnet" || name === "" ? "flanneld" : name}.sock`;
}
