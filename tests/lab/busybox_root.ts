import type { LabHost } from "./host.ts";

/** Path of Debian's busybox-static, which needs no library. */
const BUSYBOX = "/usr/bin/busybox";

/** Makes the root file system of an image: busybox under all its names. @returns its directory */
export async function makeBusyboxRoot(host: LabHost): Promise<string> {
  const root = `${host.dir}/image`;
  await Deno.mkdir(`${root}/bin`, { recursive: true });
  await Deno.copyFile(BUSYBOX, `${root}/bin/busybox`);
  for (const applet of (await host.exec([BUSYBOX, "--list"])).trim().split("\n")) {
    if (applet !== "busybox") await Deno.symlink("busybox", `${root}/bin/${applet}`);
  }
  return root;
}
