import { compareClock } from "../../store/etcd/clock.ts";
import { type Check, ok, problem, Unavailable, warning } from "../check.ts";

/** Largest harmless difference, in seconds. */
const TOLERANCE = 5;

/**
 * Compares this host's clock with etcd's. flannel on etcd v2 renews its lease by the time of day: a host that is
 * behind by more than the margin loses its lease. Certificates have times, too.
 */
export const clockCheck: Check = {
  id: "clock",
  title: "this host's clock agrees with etcd's",
  async run(host) {
    const { store, renewMargin } = host.options;
    if (store.kind !== "etcd") throw new Unavailable("the store is not etcd");
    const found = await host.storeSearch();
    if ("error" in found) throw new Unavailable("the store is not reached");
    const difference = await compareClock(store, { signal: host.signal });
    if (difference === undefined) throw new Unavailable("etcd's answers carry no date");
    const { least, most, endpoint } = difference;
    const seconds = (least > 0 ? least : most < 0 ? most : 0) / 1000;
    if (Math.abs(seconds) <= TOLERANCE) return ok(`within ${TOLERANCE} s of ${endpoint}`);
    const text = `this host's clock is ${Math.round(Math.abs(seconds))} s ` +
      `${seconds > 0 ? "behind" : "ahead of"} that of ${endpoint}`;
    const fix = ["chronyc tracking   # or: timedatectl status", "timedatectl set-ntp true"];
    return Math.abs(seconds) >= renewMargin
      ? problem(`${text}, more than the margin by which leases are renewed`, { fix })
      : warning(text, { fix });
  },
};
