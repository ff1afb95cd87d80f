import type { Fault } from "./fault.ts";
import { CONFIG_FAULTS } from "./faults/config_faults.ts";
import { CROWD } from "./faults/crowd.ts";
import { HOST_FAULTS } from "./faults/host_faults.ts";
import { KERNEL_FAULTS } from "./faults/kernel_faults.ts";
import { LEASE_FAULTS } from "./faults/lease_faults.ts";
import { PATH_FAULTS } from "./faults/path_faults.ts";
import { STORE_FAULTS } from "./faults/store_faults.ts";

/** All that can go wrong. */
export const FAULTS: readonly Fault[] = [
  ...STORE_FAULTS,
  ...PATH_FAULTS,
  ...LEASE_FAULTS,
  ...CONFIG_FAULTS,
  ...HOST_FAULTS,
  ...KERNEL_FAULTS,
  CROWD,
];
