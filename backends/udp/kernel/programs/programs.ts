import {
  type AssembledProgram,
  Assembler,
  BpfError,
  BpfMap,
  BpfProgram,
  R0,
  R10,
  R2,
  R3,
  R4,
  R5,
  requireWritableBpffs,
  Verdict,
} from "../../../../mod/sys/bpf/mod.ts";
import { decapsulation } from "./decapsulate.ts";
import { type Abilities, encapsulation } from "./encapsulate.ts";
import { groArrival } from "../gro/gro_device.ts";
import { type MapName, MAPS, type PathSettings } from "./layout.ts";

/** Entries of maps for a trial load: the verifier requires at least the indices that programs use. */
const TRIAL_ENTRIES = 16;

/** The path's loaded programs. */
export interface Programs extends Disposable {
  readonly encapsulate: BpfProgram;
  readonly decapsulate: BpfProgram;
  readonly groArrival: BpfProgram;
}

/**
 * Loads the path's programs and attaches none of them.
 *
 * @throws {BpfError} when the verifier refuses a program, or the kernel to load any
 */
export function loadPrograms(
  settings: PathSettings,
  abilities: Abilities,
  maps: Readonly<Record<MapName, BpfMap>>,
): Programs {
  const descriptors = Object.fromEntries(
    Object.entries(maps).map(([name, { fd }]) => [name, fd]),
  );
  using stack = new DisposableStack();
  const put = (name: string, program: AssembledProgram) =>
    stack.use(BpfProgram.load(`flanneld_${name}`, program, descriptors));
  const programs = {
    encapsulate: put("encap", encapsulation(settings, abilities)),
    decapsulate: put("decap", decapsulation(settings)),
    groArrival: put("gro", groArrival(settings)),
  };
  const loaded = stack.move();
  return { ...programs, [Symbol.dispose]: () => loaded.dispose() };
}

/**
 * Checks whether the kernel accepts the path's programs and maps: loads them, attaches and pins nothing, and frees
 * them. The maps are smaller than the path's own.
 *
 * @throws {BpfError | SysError} the error that an agent would get, except for a lack of memory
 */
export function tryPrograms(settings: PathSettings): void {
  requireWritableBpffs();
  using stack = new DisposableStack();
  const maps = Object.fromEntries(
    Object.entries(MAPS).map(([name, shape]) => {
      const maxEntries = Math.min(shape.maxEntries, TRIAL_ENTRIES);
      return [
        name,
        stack.use(BpfMap.create(`flanneld_${name}`, { ...shape, maxEntries })),
      ] as const;
    }),
  ) as Record<MapName, BpfMap>;
  loadPrograms(settings, probeAbilities(), maps)[Symbol.dispose]();
}

/**
 * Probes the running kernel's optional features.
 *
 * fib_lookup compares a given length with the path MTU since Linux 5.12. That cannot be probed itself; the helper
 * check_mtu is of the same version.
 *
 * @throws {BpfError} when the kernel refuses to load any program
 */
export function probeAbilities(): Abilities {
  const program = new Assembler()
    .store(R10, -8, 0, 8)
    .mov(R2, 0).mov(R3, R10).alu(R3, "add", -8).mov(R4, 0).mov(R5, 0)
    .call("check_mtu").mov(R0, Verdict.TC_ACT_UNSPEC).exit().assemble();
  try {
    BpfProgram.load("flanneld_probe", program)[Symbol.dispose]();
    return { pathMtu: true };
  } catch (error) {
    if (error instanceof BpfError && error.log !== "") return { pathMtu: false };
    throw error;
  }
}
