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
import {
  ensureGroDevice,
  findGroDevice,
  groArrival,
  groDeviceName,
  removeGroDevice,
} from "./gro/gro_device.ts";
import { ClsactHook, TcxHook } from "./hook.ts";
import { MAPS, type PathSettings, PROBES_KEY, readGroSecret } from "./programs/layout.ts";
import { pinDirectory } from "./pins.ts";
import { tryPrograms } from "./programs/programs.ts";
import { isFinal, isRefusalOfPath, type Refusal } from "./refusal.ts";
import { requireEthernet } from "./underlay.ts";

/** A program and its place. */
interface Wanted {
  /** Also the name of its pin. */
  readonly name: "decapsulate" | "encapsulate" | "gro_arrival";
  readonly direction: "ingress" | "egress";
  readonly interface: string;
  /** Variants of the program: which one the kernel supports is only known by loading it. */
  readonly programs: readonly AssembledProgram[];
}

/** The program that is attached at a place. */
interface Present {
  readonly index: number;
  readonly tag: string;
}

/**
 * Lists the programs that an agent would attach, replace or detach. Creates, changes or deletes the GRO device by
 * the context's netlink, which must be a dry run's.
 *
 * When programs would be attached, loads them to see whether the kernel accepts them: with `auto` an agent does
 * without programs that the kernel refuses for good. Attaches and pins nothing.
 *
 * @param device name of the TUN device
 * @param settings constants of the programs
 * @throws {BpfError | SysError | UnsuitableError} with `kernel`, when the kernel refuses the programs, or to show
 * the attached ones (EPERM, EACCES)
 */
export async function planPrograms(
  context: BackendContext,
  device: string,
  settings: PathSettings,
): Promise<DiffLine[]> {
  try {
    return await changes(context, device, settings);
  } catch (error) {
    // A process that may not read programs may not load any either.
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
  const [encapsulate, decapsulate, groArrival] = wantedPrograms(external.name, device, settings);
  // The calling thread is in the network namespace only until the first await.
  const found = [decapsulate, encapsulate].map((one) => ({
    wanted: one,
    present: find(context, device, one),
  }));
  const groPresent = find(context, device, groArrival);
  const hadNoGroDevice = findGroDevice(netlink, device) === undefined && isWithoutGroDevice(device);
  const isPinned = pathExists(pinDirectory(device));
  const removal = (): DiffLine[] => {
    const lines = [...found, { wanted: groArrival, present: groPresent }]
      .flatMap(({ wanted, present }) => present === undefined ? [] : [line("-", wanted, present)]);
    removeGroDevice(netlink, device);
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
  const replacement = async (wanted: Wanted, index: number, present: Present | undefined) => {
    const tags = (await Promise.all(wanted.programs.map(tagsOf))).flat();
    if (present?.index === index && tags.includes(present.tag)) return [];
    return [...present === undefined ? [] : [line("-", wanted, present)], line("+", wanted)];
  };

  if ((udp?.datapath ?? "user") === "user") return removal();
  const lines = (await Promise.all(found.map(({ wanted, present }) =>
    replacement(
      wanted,
      wanted.name === "decapsulate" ? settings.underlay : settings.device,
      present,
    )
  ))).flat();
  const refusal = lines.length === 0 ? undefined : askKernel(context, settings);
  if (refusal !== undefined) {
    if (udp?.datapath === "kernel") throw refusal;
    if (isFinal(refusal)) return removal();
  }
  // There will be no GRO device if the former agent could not create one, or if another device has its name.
  const isTaken = findGroDevice(netlink, device) === undefined &&
    netlink.link(groDeviceName(device)) !== undefined;
  if (hadNoGroDevice || isTaken) return lines;
  const { index } = ensureGroDevice(netlink, device);
  return [...lines, ...await replacement(groArrival, index, groPresent)];
}

function wantedPrograms(
  underlay: string,
  device: string,
  settings: PathSettings,
): readonly [encapsulate: Wanted, decapsulate: Wanted, groArrival: Wanted] {
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
      ...{ name: "gro_arrival", direction: "ingress", interface: groDeviceName(device) },
      programs: [groArrival(settings)],
    },
  ];
}

/** Loads the programs and returns the kernel's refusal, if any. */
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

/** Returns whether an agent ran its programs without a GRO device, because it could not create one. */
function isWithoutGroDevice(device: string): boolean {
  const fd = openPin(`${pinDirectory(device)}/gro`);
  if (fd === undefined) return false;
  using map = new BpfMap(fd, MAPS.gro);
  return BpfMap.hasShape(fd, MAPS.gro) && readGroSecret(map.lookup(PROBES_KEY)!) === undefined;
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
      case "gro_arrival":
        return ClsactHook.groArrival(netlink, [groDeviceName(device)], device);
    }
  }
}
