import { inNetworkNamespace } from "./namespace.ts";

/**
 * Parameters of an interface that keep IPv6 out (ip-sysctl.rst of the kernel). `net.ipv6.conf.all.disable_ipv6=0`
 * overwrites the second on each interface, but not the first.
 */
const OFF = { accept_ra: "0", disable_ipv6: "1" };

/**
 * Turns IPv6 off on an interface.
 *
 * @param netns path of a network namespace; `undefined` is the calling thread's
 * @returns false when `/proc/sys` cannot be written
 */
export function turnIPv6Off(device: string, netns: string | undefined): boolean {
  return inNetworkNamespace(netns, () => {
    try {
      for (const [parameter, value] of Object.entries(OFF)) {
        if (read(device, parameter) !== value) {
          Deno.writeTextFileSync(pathOf(device, parameter), value, { create: false });
        }
      }
      return true;
    } catch (error) {
      // Without the directory the kernel has no IPv6, or the interface none: its MTU is below IPV6_MIN_MTU.
      return error instanceof Deno.errors.NotFound;
    }
  });
}

/** Returns whether the kernel runs no IPv6 on an interface. @param netns as in {@linkcode turnIPv6Off} */
export function isIPv6Off(device: string, netns: string | undefined): boolean {
  return inNetworkNamespace(netns, () => {
    try {
      return read(device, "disable_ipv6") === OFF.disable_ipv6;
    } catch (error) {
      return error instanceof Deno.errors.NotFound;
    }
  });
}

function read(device: string, parameter: string): string {
  return Deno.readTextFileSync(pathOf(device, parameter)).trimEnd();
}

function pathOf(device: string, parameter: string): string {
  return `/proc/sys/net/ipv6/conf/${device}/${parameter}`;
}
