/** True on a kernel before this release of Linux. */
export function isOlderKernel(major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = Deno.osRelease().split(".").map(Number);
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}
