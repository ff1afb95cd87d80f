/**
 * The table of cases that each adapter's test runs on a real store: of the adapter, and of `NetworkStore`
 * over it.
 *
 * @module
 */
import { configureLog } from "../../observe/log/log.ts";
import { accessCases } from "./store_cases_access.ts";
import { kvCases } from "./kv_cases.ts";
import { callCases } from "./store_cases_calls.ts";
import { lostReplyCases, modelCases } from "./store_cases_model.ts";
import { outageCases } from "./store_cases_outage.ts";
import { watchCases } from "./store_cases_watch.ts";
import type { StoreLab, StoreLabOptions } from "./store_lab.ts";

export type { StoreLab, StoreLabOptions } from "./store_lab.ts";

/** Options of {@linkcode storeCases}. */
export interface StoreCasesOptions {
  /**
   * There is a server between the store and its data, which can be down, out of reach and guarded.
   *
   * @default true
   */
  readonly hasServer?: boolean;
  /** Calls can lose their reply. @default as `hasServer` */
  readonly losesReplies?: boolean;
  /** Its access control: TLS and passwords, TLS alone, or none. @default "all" */
  readonly access?: "all" | "tls" | "none";
}

/**
 * Registers the cases as tests named after the store.
 *
 * @param makeLab starts a server; called for each kind of access that the cases need
 */
export function storeCases(
  name: string,
  makeLab: (options?: StoreLabOptions) => Promise<StoreLab>,
  {
    hasServer = true,
    losesReplies = hasServer,
    access = hasServer ? "all" : "none",
  }: StoreCasesOptions = {},
): void {
  Deno.test(`${name}: calls and watches`, async (t) => {
    const lines: string[] = [];
    configureLog({ write: (line) => lines.push(line) });
    await using lab = await makeLab();
    let number = 0;
    const cases = [
      ...[...kvCases, ...callCases, ...watchCases, ...modelCases],
      ...(losesReplies ? lostReplyCases : []),
      ...(hasServer ? outageCases : []),
    ];
    for (const [sentence, run] of cases) {
      await t.step(sentence, async () => {
        lines.length = 0;
        await run({ lab, prefix: `/cases/net${number++}`, log: lines });
      });
    }
  });

  for (const [sentence, options, run] of access === "none" ? [] : accessCases) {
    if (access === "tls" && options.password !== undefined) continue;
    Deno.test(`${name}: ${sentence}`, async () => {
      await using lab = await makeLab(options);
      await run(lab);
    });
  }
}
