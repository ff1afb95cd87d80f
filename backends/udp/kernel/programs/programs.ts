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
import { hopArrival } from "../gro/gro_device.ts";
import { type MapName, MAPS, type PathSettings } from "./layout.ts";

/** Entries of a map that is there for the verifier, which wants at least as many as programs name. */
const FEW = 16;

/** The path's programs, loaded. */
export interface Programs extends Disposable {
  readonly encapsulate: BpfProgram;
  readonly decapsulate: BpfProgram;
  readonly hopArrival: BpfProgram;
}

/**
 * Loads the path's programs, attached to nothing yet.
 *
 * @throws {BpfError} when the verifier refuses one, or the kernel to load any
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
    hopArrival: put("hop", hopArrival(settings)),
  };
  const loaded = stack.move();
  return { ...programs, [Symbol.dispose]: () => loaded.dispose() };
}

/**
 * Finds out whether the kernel would take the path: it loads programs and maps, which are gone again when
 * this returns. Nothing is attached or pinned, nor are there as many entries as the path's own maps have.
 *
 * @throws {BpfError | SysError} what an agent would be told, but for want of memory
 */
export function tryPrograms(settings: PathSettings): void {
  requireWritableBpffs();
  using stack = new DisposableStack();
  const maps = Object.fromEntries(
    Object.entries(MAPS).map(([name, shape]) => {
      const maxEntries = Math.min(shape.maxEntries, FEW);
      return [
        name,
        stack.use(BpfMap.create(`flanneld_${name}`, { ...shape, maxEntries })),
      ] as const;
    }),
  ) as Record<MapName, BpfMap>;
  loadPrograms(settings, probeAbilities(), maps)[Symbol.dispose]();
}

/**
 * What the running kernel lets programs do.
 *
 * True for `pathMtu` when fib_lookup holds a length that it is given against the path's MTU. That came with
 * Linux 5.12 and changed nothing that could be seen; the helper check_mtu came with it.
 *
 * @throws {BpfError} where the kernel lets nobody load programs
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
