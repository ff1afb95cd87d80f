import { formatIPv4 } from "../../ip/mod.ts";
import type { Verdict } from "../trace/judge.ts";
import type { Investigation } from "../trace/investigation.ts";
import type { Step } from "../../../backends/steps.ts";

/** Direction of a probe, as a step is called. */
const OBJECTS = { in: "inbound", out: "outbound", tunnel: "tunnel" } as const;

/** Returns one step for each probe's verdict. */
export function traceSteps(traced: Investigation): Step[] {
  if ("unavailable" in traced) {
    return [{
      object: "trace",
      text:
        `no probe could be traced (${traced.unavailable}): the steps above come from reading the rules`,
    }];
  }
  return traced.verdicts.map(stepOf);
}

function stepOf({ flow, result, stop, notes }: Verdict): Step {
  const object = OBJECTS[flow.name];
  const more = notes.map((note) => `; ${note}`).join("");
  if (stop === undefined) {
    const { fate } = result;
    const end = fate?.type === "passed" && fate.to === "input"
      ? "gets to this host"
      : flow.exit === undefined
      ? "leaves this host"
      : `leaves by ${flow.exit}`;
    // A reply by TCP may be a reset.
    const isEcho = flow.request.packet.protocol === "icmp";
    const answer = isEcho && result.reply?.type === "passed" ? ", and is answered" : "";
    return { object, text: `${flow.text}: ${end}${answer}${more}` };
  }
  const { text, fix, isDeduced } = stop;
  return {
    ...{ object, text: `${flow.text}: does not get through${more}` },
    wrong: text + (isDeduced ? " (deduced: the kernel reports no reason)" : ""),
    ...(fix.length === 0 ? {} : { fix }),
  };
}

/** Returns the source address of the outbound probe when it left; `undefined` when it did not leave. */
export function tracedMasquerade(traced: Investigation): Step | undefined {
  if ("unavailable" in traced) return undefined;
  const out = traced.verdicts.find(({ flow }) => flow.name === "out");
  const fate = out?.result.fate;
  if (out === undefined || fate?.type !== "passed") return undefined;
  const { source } = out.result.packet;
  const text = fate.source === source
    ? "the source stays the container's"
    : `the source becomes the address ${formatIPv4(fate.source)} of this host`;
  return { object: "masquerade", text };
}
