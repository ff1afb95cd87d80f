/**
 * Shared fixtures of the vxlan backend's tests.
 *
 * @module
 */
import type { BackendContext, Network } from "../../../backends/backend.ts";
import {
  type BackendHost,
  BackendLab,
  makeLease,
  prepare,
} from "../../../backends/testing/backend_lab.ts";
import { vxlanBackend } from "../../../backends/vxlan/vxlan.ts";
import type { JsonValue, Lease } from "../../../mod/lease/mod.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";

/** Fixture of a vxlan backend's test. */
export interface VxlanTest {
  readonly lab: BackendLab;
  /** The lab's first host. */
  readonly host: BackendHost;
  /** Messages that were logged so far. */
  readonly log: readonly string[];
  readonly step: Deno.TestContext["step"];
}

/** Registers a test that has two hosts of its own. */
export function test(sentence: string, body: (test: VxlanTest) => Promise<void>): void {
  Deno.test(`vxlan: ${sentence}`, async (t) => {
    using log = captureLog();
    await using lab = await BackendLab.make();
    await body({ lab, host: lab.host, log: log.lines, step: t.step.bind(t) });
  });
}

/** Subnet of the host under test. */
export const OWN = "10.20.1.0/24";

/** A VTEP MAC that belongs to a public IP: 172.28.128.101 has 0a:00:ac:1c:80:65. */
export function macOf(publicIP: string): string {
  return "0a:00:" + publicIP.split(".")
    .map((octet) => Number(octet).toString(16).padStart(2, "0")).join(":");
}

/** The lease of a vxlan host. @param mac of its VTEP. @default {@linkcode macOf} its public IP */
export function vxlanLease(subnet: string, publicIP: string, mac = macOf(publicIP)): Lease {
  return makeLease(subnet, publicIP, { backendType: "vxlan", backendData: { VtepMAC: mac } });
}

/** Prepares the backend on a host. @param options members of the config's `Backend` */
export async function prepareVxlan(
  host: BackendHost,
  options: Readonly<Record<string, JsonValue>> = {},
  overrides: Partial<BackendContext> & { readonly network?: string } = {},
): Promise<{ network: Network; own: Lease }> {
  const context = await host.context({ Type: "vxlan", ...options }, overrides);
  return await prepare(vxlanBackend, context, OWN);
}

/** A vxlan device in the output of `ip -d -j link`. */
export interface VxlanDevice {
  readonly ifindex: number;
  readonly ifname: string;
  readonly mtu: number;
  readonly address: string;
  readonly flags: readonly string[];
  readonly linkinfo: {
    readonly info_kind: string;
    readonly info_data: Readonly<Record<string, unknown>>;
  };
}

/** The device of a host. @throws {Error} when there is none */
export async function deviceOf(host: BackendHost, name = "flannel.1"): Promise<VxlanDevice> {
  const [device] = await host.ipJson<VxlanDevice>("-d", "link", "show", "dev", name);
  return device!;
}

/** Runs a line of `ip` on a host. */
export async function ip(host: BackendHost, line: string): Promise<void> {
  await host.namespace.ip(...line.split(" "));
}

/** Runs a line of `bridge` on a host. */
export async function bridge(host: BackendHost, line: string): Promise<void> {
  await host.namespace.bridge(...line.split(" "));
}

/** Lines of {@linkcode BackendHost.state} without what differs from device to device. */
export function withoutIdentity(state: readonly string[]): string[] {
  return state.map((line) => line.replace(/^link \d+ (flannel\S+ \d+) \S+/, "link $1")).sort();
}
