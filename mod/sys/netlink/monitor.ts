import { Broadcasts } from "./broadcast.ts";
import { readKernelEvent } from "./event.ts";
import { openSocket } from "./wire/socket.ts";
import { Subscription } from "./subscription.ts";
import type { KernelEvent } from "./wire/types.ts";

/** RTNLGRP_* of linux/rtnetlink.h. `neighbour` reports FDB entries of vxlan devices, too. */
const GROUPS = { link: 1, neighbour: 3, address: 5, route: 7, "ipv6-address": 9 };

/** A table to listen to; addresses and routes are IPv4's, but for `ipv6-address`. */
export type MonitorGroup = keyof typeof GROUPS;

/** How to listen. */
export interface MonitorOptions {
  /**
   * Path of a network namespace.
   *
   * @default the calling thread's
   */
  readonly netns?: string | undefined;
  /** Ends the iteration, at once and without an error. */
  readonly signal: AbortSignal;
  /**
   * How many bytes of kernel memory events may take up before they are lost; one takes about 1 KiB. The
   * kernel doubles it, and without CAP_NET_ADMIN clamps it to net.core.rmem_max.
   *
   * @default 16 MiB, some 30,000 events
   */
  readonly receiveBuffer?: number;
}

const RECEIVE_BUFFER = 16 * 1024 * 1024;

/**
 * Yields changes of the kernel's tables by any process, this one included.
 *
 * It listens from the call on, not from the first iteration: subscribe, then dump, then iterate, and no change
 * is missed. It waits in one poll(2) on another thread, without a timer; monitors of the same groups share
 * that ({@linkcode Broadcasts}). It must be iterated, or its signal aborted, to close its descriptors.
 *
 * Deleting a device, or setting it down, removes its routes *without* an event of their own: the `link` event
 * stands for them.
 *
 * @param groups what to listen to
 * @returns events in the kernel's order, in groups of what was queued; `overrun` where some were lost
 * @throws {SysError} when the namespace or the socket cannot be opened
 *
 * @example
 * ```ts ignore
 * import { monitor } from "./monitor.ts";
 * const signal = AbortSignal.timeout(60_000);
 * for await (const events of monitor(["link", "route"], { signal })) console.log(events);
 * ```
 */
export function monitor(
  groups: readonly MonitorGroup[],
  options: MonitorOptions,
): AsyncIterable<KernelEvent[]> {
  const mask = groups.reduce((mask, group) => mask | (1 << (GROUPS[group] - 1)), 0);
  const { netns, receiveBuffer, signal } = options;
  return netns === undefined && receiveBuffer === undefined
    ? shared.listen(mask, signal)
    : subscribe(mask, options);
}

const LOST: KernelEvent = { type: "overrun" };

/** Each network of an agent asks for the same. */
const shared = new Broadcasts<KernelEvent>((mask, signal) => subscribe(mask, { signal }), LOST);

function subscribe(
  mask: number,
  { netns, signal, receiveBuffer = RECEIVE_BUFFER }: MonitorOptions,
): AsyncIterable<KernelEvent[]> {
  const subscription = new Subscription<KernelEvent>({
    ...{ socket: openSocket(netns, mask), signal, receiveBuffer },
    ...{ read: readKernelEvent, lost: LOST },
  });
  return { [Symbol.asyncIterator]: () => subscription.events() };
}
