/** The corpus of every target, and 30 s of generated inputs in all. FUZZ_SEED repeats a run. */
import { FuzzSession } from "./session.ts";
import { TARGETS } from "./targets.ts";

/** Time for generated inputs, in milliseconds; each target has the same part of it. */
const TOTAL_MS = 30_000;

const seed = Number(Deno.env.get("FUZZ_SEED") ?? Math.floor(Math.random() * 0x7fffffff));
console.log(`fuzz: seed ${seed} (FUZZ_SEED=${seed} repeats it)`);

// One worker for all: it takes longer to load than a target has.
const session = new FuzzSession();
globalThis.addEventListener("unload", () => session[Symbol.dispose]());

const options = { sanitizeResources: false, sanitizeOps: false };

for (const { name } of TARGETS) {
  Deno.test(
    `fuzz target ${name} holds for its corpus and for generated inputs`,
    options,
    async () => {
      const { executions, finding } = await session.run(name, seed, TOTAL_MS / TARGETS.length);
      if (finding === undefined) return console.log(`${name}: ${executions} executions`);
      throw new Error(
        `${finding.message}\n${finding.literal}\n` +
          `repeat: deno task fuzz --minutes=1 --target=${name} --seed=${seed}`,
      );
    },
  );
}
