import { isRefusal } from "../../../mod/sys/mod.ts";
import {
  type AssembledProgram,
  BpfMap,
  openPin,
  pathExists,
  tagOfLoaded,
  tagsOf,
} from "../../../mod/sys/bpf/mod.ts";
import type { BackendContext } from "../../backend.ts";
import type { DiffLine } from "../../describe.ts";
import { decapsulation } from "./programs/decapsulate.ts";
import { encapsulation } from "./programs/encapsulate.ts";
import { ensureHop, findHop, hopArrival, hopName, removeHop } from "./gro/gro_device.ts";
import { ClsactHook, TcxHook } from "./hook.ts";
import { MAPS, type PathSettings, PROBE_KEY, readHopSecret } from "./programs/layout.ts";
import { pinDirectory } from "./pins.ts";
import { tryPrograms } from "./programs/programs.ts";
import { isFinal, isRefusalOfPath, type Refusal } from "./refusal.ts";
import { requireEthernet } from "./underlay.ts";

/** Where a program belongs. */
interface Wanted {
  /** Of its pin, too. */
  readonly name: "decapsulate" | "encapsulate" | "hop_arrival";
  readonly direction: "ingress" | "egress";
  readonly interface: string;
  /** The program as it may be, by what the kernel can be asked: which is not known before it is loaded. */
  readonly programs: readonly AssembledProgram[];
}

/** What is at a program's place. */
interface Present {
  readonly index: number;
  readonly tag: string;
}

/**
 * The programs that an agent would attach, exchange or take off; the hop's device it makes, alters or deletes by
 * the context's netlink, which is to take that down and change nothing.
 *
 * Where programs would be attached the kernel is asked whether it takes them, by loading them: what it
 * refuses for good an agent with `auto` does without. Nothing is attached or pinned for that.
 *
 * @param device name of the TUN device
 * @param settings what the programs are made of
 * @throws {BpfError | SysError | UnsuitableError} with `kernel`, when the kernel refuses, or what is there
 * may not be looked at (EPERM, EACCES)
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
  const [encapsulate, decapsulate, hop] = wantedPrograms(external.name, device, settings);
  // All that depends on the calling thread's namespace comes before the first wait.
  const found = [decapsulate, encapsulate].map((one) => ({
    wanted: one,
    present: find(context, device, one),
  }));
  const hopPresent = find(context, device, hop);
  const hadNoHop = findHop(netlink, device) === undefined && isWithoutHop(device);
  const isPinned = pathExists(pinDirectory(device));
  const takeOff = (): DiffLine[] => {
    const lines = [...found, { wanted: hop, present: hopPresent }]
      .flatMap(({ wanted, present }) => present === undefined ? [] : [line("-", wanted, present)]);
    removeHop(netlink, device);
    if (lines.length === 0 && isPinned) return [{ sign: "-", text: `eBPF maps of ${device}` }];
    return lines;
  };
  const line = (
    sign: "-" | "+",
    { name, direction, ...wanted }: Wanted,
    at?: Present,
  ): DiffLine => {
    const place = at === undefined
      ? wanted.interface
      : netlink.linkByIndex(at.index)?.name ?? `interface ${at.index}`;
    return { sign, text: `eBPF program ${name} dev ${place} ${direction}` };
  };
  const exchange = async (wanted: Wanted, index: number, present: Present | undefined) => {
    const tags = (await Promise.all(wanted.programs.map(tagsOf))).flat();
    if (present?.index === index && tags.includes(present.tag)) return [];
    return [...present === undefined ? [] : [line("-", wanted, present)], line("+", wanted)];
  };

  if ((udp?.datapath ?? "user") === "user") return takeOff();
  const lines = (await Promise.all(found.map(({ wanted, present }) =>
    exchange(
      wanted,
      wanted.name === "decapsulate" ? settings.underlay : settings.device,
      present,
    )
  ))).flat();
  const refusal = lines.length === 0 ? undefined : askKernel(context, settings);
  if (refusal !== undefined) {
    if (udp?.datapath === "kernel") throw refusal;
    if (isFinal(refusal)) return takeOff();
  }
  // Where the agent before has found that there can be none, or the name is another's, there will be none.
  const isTaken = findHop(netlink, device) === undefined &&
    netlink.link(hopName(device)) !== undefined;
  if (hadNoHop || isTaken) return lines;
  const { index } = ensureHop(netlink, device);
  return [...lines, ...await exchange(hop, index, hopPresent)];
}

function wantedPrograms(
  underlay: string,
  device: string,
  settings: PathSettings,
): readonly [encapsulate: Wanted, decapsulate: Wanted, hop: Wanted] {
  return [
    {
      ...{ name: "encapsulate", direction: "egress", interface: device },
      programs: [true, false].map((pathMtu) => encapsulation(settings, { pathMtu })),
    },
    {
      ...{ name: "decapsulate", direction: "ingress", interface: underlay },
      programs: [decapsulation(settings)],
    },
    {
      ...{ name: "hop_arrival", direction: "ingress", interface: hopName(device) },
      programs: [hopArrival(settings)],
    },
  ];
}

/** What the kernel has against programs that are to be attached. */
function askKernel(context: BackendContext, settings: PathSettings): Refusal | undefined {
  try {
    requireEthernet(context);
    tryPrograms(settings);
    return undefined;
  } catch (error) {
    if (isRefusalOfPath(error)) return error;
    throw error;
  }
}

/** True when an agent has left its programs to do without a hop, since it could have none. */
function isWithoutHop(device: string): boolean {
  const fd = openPin(`${pinDirectory(device)}/hop`);
  if (fd === undefined) return false;
  using map = new BpfMap(fd, MAPS.hop);
  return BpfMap.hasShape(fd, MAPS.hop) && readHopSecret(map.lookup(PROBE_KEY)!) === undefined;
}

function find(
  { netlink, external }: BackendContext,
  device: string,
  { name, direction }: Wanted,
): Present | undefined {
  using pinned = new TcxHook(`${pinDirectory(device)}/${name}`, direction);
  const present = pinned.present() ?? filterOf(name).present();
  return present && { index: present.index, tag: tagOfLoaded(present.programId) };

  function filterOf(name: Wanted["name"]): ClsactHook {
    switch (name) {
      case "decapsulate":
        return ClsactHook.decapsulate(netlink, [external.name], device);
      case "encapsulate":
        return ClsactHook.encapsulate(netlink, [device], device);
      case "hop_arrival":
        return ClsactHook.hop(netlink, [hopName(device)], device);
    }
  }
}
