import { isRefusal } from "../../../mod/sys/mod.ts";
import { type AssembledProgram, tagOfLoaded, tagsOf } from "../../../mod/sys/bpf/mod.ts";
import type { BackendContext } from "../../backend.ts";
import type { DiffLine } from "../../describe.ts";
import { RTPROT_FLANNEL } from "../../reconcile.ts";
import { decapsulation } from "./decapsulate.ts";
import { encapsulation } from "./encapsulate.ts";
import { ClsactHook, TcxHook } from "./hook.ts";
import type { PathSettings } from "./layout.ts";
import { KernelLeftover } from "./leftover.ts";
import { pinDirectory } from "./pins.ts";

/** Where a program belongs. */
interface Wanted {
  readonly name: "decapsulate" | "encapsulate";
  readonly direction: "ingress" | "egress";
  readonly index: number;
  readonly interface: string;
  /** The program as it may be, by what the kernel can be asked: which is not known before it is loaded. */
  readonly programs: readonly AssembledProgram[];
}

/**
 * The programs that an agent would attach, exchange or take off. Nothing is loaded, so whether the kernel takes
 * them is not known: with `auto`, where an agent has been and none are, it has not, and none are told of.
 *
 * @param device name of the TUN device
 * @param settings what the programs are made of
 * @throws {SysError} with `kernel`, EPERM or EACCES when what is there may not be looked at
 */
export async function planPrograms(
  context: BackendContext,
  device: string,
  settings: PathSettings,
): Promise<DiffLine[]> {
  try {
    return await changes(context, device, settings);
  } catch (error) {
    // Who may not look may not load either.
    if (context.udp?.datapath === "kernel" || !isRefusal(error)) throw error;
    return [];
  }
}

async function changes(
  context: BackendContext,
  device: string,
  settings: PathSettings,
): Promise<DiffLine[]> {
  const { netlink, external, udp } = context;
  const leftover = new KernelLeftover(netlink, device, [external.name]);
  const isThere = leftover.exists();
  const mode = udp?.datapath ?? "user";
  if (mode === "user") {
    return isThere ? [{ sign: "-", text: `eBPF programs of ${device}` }] : [];
  }
  if (netlink.linkByIndex(external.index)?.mac === undefined) return [];
  if (mode === "auto" && !isThere && hasServed(context, settings.device)) return [];
  const wanted: Wanted[] = [{
    ...{ name: "decapsulate", direction: "ingress" },
    ...{ index: settings.underlay, interface: external.name, programs: [decapsulation(settings)] },
  }, {
    ...{ name: "encapsulate", direction: "egress" },
    ...{ index: settings.device, interface: device },
    programs: [true, false].map((pathMtu) => encapsulation(settings, { pathMtu })),
  }];
  const found = wanted.map((one) => ({ ...one, present: find(context, device, one) }));
  const lines: DiffLine[] = [];
  for (const { name, direction, present, ...one } of found) {
    const tags = (await Promise.all(one.programs.map(tagsOf))).flat();
    if (present?.index === one.index && tags.includes(present.tag)) continue;
    const tell = (sign: "-" | "+", at: string) =>
      lines.push({ sign, text: `eBPF program ${name} dev ${at} ${direction}` });
    if (present !== undefined) {
      tell("-", netlink.linkByIndex(present.index)?.name ?? `interface ${present.index}`);
    }
    tell("+", one.interface);
  }
  return lines;
}

/** True when the device has the route that an agent of ours gives it, and flannel's does not. */
function hasServed({ netlink, config }: BackendContext, device: number): boolean {
  return netlink.routes({ oif: device, protocol: RTPROT_FLANNEL })
    .some(({ destination }) => destination.equals(config.network));
}

function find(
  { netlink, external }: BackendContext,
  device: string,
  { name, direction }: Wanted,
): { readonly index: number; readonly tag: string } | undefined {
  using pinned = new TcxHook(`${pinDirectory(device)}/${name}`, direction);
  const filter = name === "decapsulate"
    ? ClsactHook.decapsulate(netlink, [external.name], device)
    : ClsactHook.encapsulate(netlink, [device], device);
  const present = pinned.present() ?? filter.present();
  return present && { index: present.index, tag: tagOfLoaded(present.programId) };
}
