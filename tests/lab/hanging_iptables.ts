import type { LabHost } from "./host.ts";

/** While this file exists, iptables-save hangs. */
const HANG = "/run/hang";

/** Directory of the wrapper; an agent's tools are found there first. */
const WRAPPERS = "/run/wrapper";

const WRAPPER = `#!/bin/sh
while [ -e ${HANG} ]; do sleep 0.2; done
exec $(PATH=/usr/sbin:/sbin command -v iptables-save) "$@"
`;

/** PATH of an agent whose tools are looked for among the wrappers first. */
export const WRAPPED_PATH =
  `${WRAPPERS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/** Puts an iptables-save that hangs on demand in an agent's way that has {@linkcode WRAPPED_PATH}. */
export async function wrapTool(host: LabHost): Promise<void> {
  await host.writeTextFile(`${WRAPPERS}/iptables-save`, WRAPPER, 0o755);
}

/** Puts it out of the way again. */
export async function unwrapTool(host: LabHost): Promise<void> {
  await Deno.remove(host.path(`${WRAPPERS}/iptables-save`));
}

/** Gives the host's agent an iptables-save that hangs on demand; its sysconfig file is there already. */
export async function wrapIptablesSave(host: LabHost): Promise<void> {
  await wrapTool(host);
  const sysconfig = await host.readTextFile("/etc/sysconfig/flanneld");
  await host.writeTextFile("/etc/sysconfig/flanneld", `${sysconfig}PATH=${WRAPPED_PATH}\n`);
}

/** Makes the wrapped iptables-save hang. */
export async function hang(host: LabHost): Promise<void> {
  await host.writeTextFile(HANG, "");
}

/** Lets it go on. */
export async function resume(host: LabHost): Promise<void> {
  await Deno.remove(host.path(HANG));
}
