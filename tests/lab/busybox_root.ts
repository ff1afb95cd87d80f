/** Path of Debian's busybox-static, which needs no library. */
const BUSYBOX = "/usr/bin/busybox";

/**
 * Puts busybox under all its names into the directory `bin` of a root.
 *
 * @param root a directory, which is made where it is missing
 */
export async function makeBusyboxRoot(root: string): Promise<void> {
  await Deno.mkdir(`${root}/bin`, { recursive: true });
  await Deno.copyFile(BUSYBOX, `${root}/bin/busybox`);
  const { stdout } = await new Deno.Command(BUSYBOX, { args: ["--list"] }).output();
  for (const applet of new TextDecoder().decode(stdout).trim().split("\n")) {
    if (applet !== "busybox") await Deno.symlink("busybox", `${root}/bin/${applet}`);
  }
}
