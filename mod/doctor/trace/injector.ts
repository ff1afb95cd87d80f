import {
  Assembler,
  BPF_F_INGRESS,
  BpfMap,
  BpfProgram,
  kernelEnum,
  R0,
  R1,
  R10,
  R2,
  R3,
  R6,
  R7,
  Verdict,
} from "../../sys/bpf/mod.ts";
import { closeDescriptor, Errno, inNetworkNamespace, SysError } from "../../sys/mod.ts";
import { BpfError } from "../../sys/bpf/error.ts";
import { nameOfSymbol } from "./kernel_symbol.ts";

/** Where the kernel dropped a packet. */
export interface KernelDrop {
  /** `IP_RPFILTER`: the drop reason without its prefix (Linux 5.17); absent where the kernel has none. */
  readonly reason?: string;
  /** `ip_rcv_finish_core`: the function; absent where /proc/kallsyms shows no addresses. */
  readonly function?: string;
}

/** State of the followed packet: pointer, end, place and reason (all u64). */
const State = { packet: 0, fate: 8, location: 16, reason: 24, length: 32 } as const;
const Fate = { open: 0, dropped: 1, consumed: 2 } as const;

/** Reasons without information; the function is more exact. */
const UNSPECIFIED = new Set(["NOT_SPECIFIED", "NOT_DROPPED_YET"]);
const REASON_PREFIX = /^SKB_(DROP_REASON_)?/;

/** Key 0 of the maps, on the stack. */
const KEY = -4;

/**
 * Injects packets as if an interface had received them, and follows the last one through the kernel.
 *
 * A classifier's test run (BPF_PROG_TEST_RUN) works on the packet that it is given; bpf_clone_redirect() with
 * BPF_F_INGRESS makes any interface receive a copy. Programs at the tracepoints netif_rx, kfree_skb and
 * consume_skb record that copy's address and its end. The kernel removes all programs and maps with this
 * process.
 */
export class Injector implements Disposable {
  readonly #netns: string | undefined;
  readonly #stack = new DisposableStack();
  readonly #armed: BpfMap;
  readonly #state: BpfMap | undefined;
  /** Why drop reasons are not available. */
  readonly withoutReasons: string | undefined;

  /**
   * @param netns path of a network namespace; `undefined` is the thread's own
   * @throws {BpfError | SysError} when this process cannot load programs
   */
  constructor(netns: string | undefined) {
    this.#netns = netns;
    this.#armed = this.#stack.use(BpfMap.create("flanneld_armed", {
      ...{ type: "BPF_MAP_TYPE_PERCPU_ARRAY", keySize: 4, valueSize: 8, maxEntries: 1 },
    }));
    try {
      this.#state = this.#follow();
    } catch (error) {
      if (!(error instanceof BpfError) && !(error instanceof SysError)) throw error;
      this.withoutReasons = error.message;
    }
  }

  /**
   * Makes an interface receive a frame.
   *
   * @param index of the interface
   * @param frame from its Ethernet header on, which an interface without one (TUN) never sees
   * @throws {BpfError | SysError} ENODEV when there is no such interface; ENETDOWN when it is down
   */
  receive(index: number, frame: Uint8Array): void {
    this.#state?.update(new Uint8Array(4), new Uint8Array(State.length));
    const maps = { armed: this.#armed.fd };
    using program = BpfProgram.load("flanneld_probe", entry(index), maps);
    const { verdict } = inNetworkNamespace(this.#netns, () => program.run(frame));
    // The result of bpf_clone_redirect(): NET_RX_*, or a negative error.
    if (verdict < 0) throw new SysError("bpf_clone_redirect", -verdict);
  }

  /** Returns where the kernel dropped the last packet; `undefined` when it did not, or without tracepoints. */
  drop(): KernelDrop | undefined {
    const state = this.#state?.lookup(new Uint8Array(4));
    if (state === undefined || state.getUint32(State.fate, true) !== Fate.dropped) return undefined;
    const number = state.getUint32(State.reason, true);
    const name = number === 0 ? undefined : kernelEnum("skb_drop_reason")?.get(number);
    const reason = name?.replace(REASON_PREFIX, "");
    if (reason !== undefined && !UNSPECIFIED.has(reason)) return { reason };
    const place = nameOfSymbol(state.getBigUint64(State.location, true));
    return {
      ...(reason === undefined && number > 0 ? { reason: `reason ${number}` } : {}),
      ...(place === undefined ? {} : { function: place }),
    };
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #follow(): BpfMap {
    const state = this.#stack.use(BpfMap.create("flanneld_packet", {
      ...{ type: "BPF_MAP_TYPE_ARRAY", keySize: 4, valueSize: State.length, maxEntries: 1 },
    }));
    const maps = { armed: this.#armed.fd, state: state.fd };
    const attach = (tracepoint: string, program: ReturnType<typeof entry>) => {
      using loaded = BpfProgram.load(
        ...[`flanneld_${tracepoint}`, program, maps, "BPF_PROG_TYPE_RAW_TRACEPOINT"] as const,
      );
      const fd = loaded.attachRawTracepoint(tracepoint);
      this.#stack.defer(() => closeDescriptor(fd));
    };
    attach("netif_rx", arrival());
    attach("consume_skb", end(Fate.consumed, 0));
    try {
      attach("kfree_skb", end(Fate.dropped, 2));
    } catch (error) {
      // Before Linux 5.17 the tracepoint has no reason.
      if (!(error instanceof SysError) || error.errno !== Errno.EINVAL) throw error;
      attach("kfree_skb", end(Fate.dropped, 1));
    }
    return state;
  }
}

/** Redirects a copy of the packet, and while it does marks this processor. */
function entry(index: number) {
  return new Assembler()
    .mov(R6, R1)
    .include(lookUp("armed"))
    .jumpIf(R0, "==", 0, "out")
    .mov(R7, R0)
    .store(R7, 0, 1, 8)
    .mov(R1, R6).mov(R2, index).mov(R3, BPF_F_INGRESS).call("clone_redirect")
    .store(R7, 0, 0, 8)
    .exit()
    .label("out")
    .mov(R0, Verdict.TC_ACT_OK)
    .exit()
    .assemble();
}

/** netif_rx(skb): on the marked processor it is the copy. */
function arrival() {
  return new Assembler()
    .load(R6, R1, 0, 8)
    .include(lookUp("armed"))
    .jumpIf(R0, "==", 0, "out")
    .load(R7, R0, 0, 8)
    .jumpIf(R7, "==", 0, "out")
    .store(R0, 0, 0, 8)
    .include(lookUp("state"))
    .jumpIf(R0, "==", 0, "out")
    .store(R0, State.packet, R6, 8)
    .label("out")
    .mov(R0, 0)
    .exit()
    .assemble();
}

/**
 * kfree_skb(skb, location, reason) and consume_skb(skb): the first for the address ends the packet; another
 * packet may have the address afterwards.
 *
 * @param known how many arguments there are beside the packet
 */
function end(fate: number, known: 0 | 1 | 2) {
  const program = new Assembler().load(R6, R1, 0, 8);
  if (known > 0) program.load(R7, R1, 8, 8);
  // The stack keeps the reason over the call.
  if (known > 1) program.load(R2, R1, 16, 8).store(R10, -16, R2, 8);
  program.include(lookUp("state"))
    .jumpIf(R0, "==", 0, "out")
    .load(R1, R0, State.packet, 8)
    .jumpIf(R1, "!=", R6, "out")
    .load(R1, R0, State.fate, 8)
    .jumpIf(R1, "!=", Fate.open, "out")
    .store(R0, State.fate, fate, 8);
  if (known > 0) program.store(R0, State.location, R7, 8);
  if (known > 1) program.load(R1, R10, -16, 8).store(R0, State.reason, R1, 8);
  return program.label("out").mov(R0, 0).exit().assemble();
}

/** Leaves a pointer to the only element of a map in R0. */
function lookUp(map: string) {
  return (assembler: Assembler) => {
    assembler.store(R10, KEY, 0, 4).loadMap(R1, map).mov(R2, R10).alu(R2, "add", KEY)
      .call("map_lookup_elem");
  };
}
