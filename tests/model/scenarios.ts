import { STORES } from "./store_data.ts";
import type { Scenario } from "./scenario.ts";

const [A, B, C] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

/** A scenario for each store: without `name` and `store`. */
interface Setting extends Omit<Scenario, "name" | "store"> {
  /** Takes more than some seconds: not for `deno task test`. */
  readonly isLong?: true;
}

/** Scenarios by name; the name has the hosts and the events. */
const SETTINGS: Readonly<Record<string, Setting>> = {
  "two hosts start at once": { hosts: { A, B }, subnets: 2, disturbances: 0 },
  "three hosts start at once for one subnet": {
    ...{ hosts: { A, B, C }, subnets: 1, disturbances: 0, isLong: true },
  },
  "one host, two subnets": { hosts: { A }, subnets: 2, disturbances: 1 },
  "two hosts at work": { hosts: { A, B }, subnets: 2, disturbances: 1, isRunning: true },
  "two hosts at work, three subnets": {
    ...{ hosts: { A, B }, subnets: 3, disturbances: 1, isRunning: true, isLong: true },
  },
  "two hosts for one subnet": {
    ...{ hosts: { A, B }, subnets: 1, disturbances: 1, isRunning: true, isLong: true },
  },
  "two hosts with one public IP start at once": {
    ...{ hosts: { A, B: A }, subnets: 2, disturbances: 0 },
  },
  "a second host with the public IP of the first": {
    ...{ hosts: { A, B: A }, subnets: 2, disturbances: 1, isRunning: true },
  },
  "a reservation for the host that has the subnet": {
    ...{ hosts: { A, B }, subnets: 2, disturbances: 2, isRunning: true, reserveFor: A },
    kinds: ["reserve", "release", "renew"],
  },
  "a reservation for a host that is to come": {
    ...{ hosts: { A, B }, subnets: 2, disturbances: 1, reserveFor: B, isLong: true },
    kinds: ["reserve", "release"],
  },
};

/**
 * The scenarios of every store.
 *
 * @param more disturbances in a schedule besides
 */
export function scenarios(isLong: boolean, more = 0): readonly Scenario[] {
  const settings = Object.entries(SETTINGS).filter(([, setting]) => isLong || !setting.isLong);
  return STORES.flatMap((store) =>
    settings.map(([name, setting]) => ({
      ...setting,
      name: `${store.name}: ${name}`,
      store,
      disturbances: setting.disturbances + more,
    }))
  );
}
