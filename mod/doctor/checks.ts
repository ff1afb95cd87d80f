/**
 * The checks of `flanneld doctor`, in order. A new check is a file in checks/ and a line here.
 *
 * @module
 */
import type { Check } from "./check.ts";
import { agentCheck } from "./checks/agent.ts";
import { bridgeNetfilterCheck } from "./checks/bridge_netfilter.ts";
import { clockCheck } from "./checks/clock.ts";
import { configCheck } from "./checks/config.ts";
import { conflictCheck } from "./checks/conflict.ts";
import { containersCheck } from "./checks/containers.ts";
import { dockerAddressCheck, dockerMtuCheck } from "./checks/docker.ts";
import { firewallCheck } from "./checks/firewall.ts";
import { forwardingCheck } from "./checks/forwarding.ts";
import { interfaceCheck } from "./checks/interface.ts";
import { kernelCheck } from "./checks/kernel.ts";
import { leaseCheck } from "./checks/lease.ts";
import { pathMtuCheck } from "./checks/path_mtu.ts";
import { peersCheck } from "./checks/peers.ts";
import { prefixCheck } from "./checks/prefix.ts";
import { publicIpCheck } from "./checks/public_ip.ts";
import { routeTablesCheck } from "./checks/route_tables.ts";
import { rpFilterCheck } from "./checks/rp_filter.ts";
import { storeCheck } from "./checks/store.ts";
import { tokenCheck } from "./checks/token.ts";
import { versionsCheck } from "./checks/versions.ts";

/** Each check depends on earlier checks alone. */
export const CHECKS: readonly Check[] = [
  storeCheck,
  tokenCheck,
  prefixCheck,
  configCheck,
  interfaceCheck,
  publicIpCheck,
  agentCheck,
  leaseCheck,
  conflictCheck,
  forwardingCheck,
  rpFilterCheck,
  bridgeNetfilterCheck,
  firewallCheck,
  dockerAddressCheck,
  dockerMtuCheck,
  kernelCheck,
  routeTablesCheck,
  peersCheck,
  containersCheck,
  pathMtuCheck,
  clockCheck,
  versionsCheck,
];
