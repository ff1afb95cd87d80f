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
import type { ServedLab, StoreCase, StoreLab, StoreLabOptions } from "./store_lab.ts";

export type { ServedLab, StoreLab, StoreLabOptions } from "./store_lab.ts";

/** Options of {@linkcode storeCases}. */
export interface StoreCasesOptions {
  /** Calls can lose their reply. @default true with a server */
  readonly losesReplies?: boolean;
  /** Its access control: TLS and passwords, TLS alone, or none. @default "all" with a server */
  readonly access?: "all" | "tls" | "none";
}

/**
 * Registers the cases of a store behind a server as tests named after it.
 *
 * @param makeLab starts a server; called for each kind of access that the cases need
 */
export function storeCases(
  name: string,
  makeLab: (options?: StoreLabOptions) => Promise<ServedLab>,
  { losesReplies = true, access = "all" }: StoreCasesOptions = {},
): void {
  registerCases(name, makeLab, outageCases, losesReplies);
  for (const [sentence, options, run] of access === "none" ? [] : accessCases) {
    if (access === "tls" && options.password !== undefined) continue;
    Deno.test(`${name}: ${sentence}`, async () => {
      await using lab = await makeLab(options);
      await run(lab);
    });
  }
}

/** Registers the cases of a store without a server. */
export function serverlessCases(
  name: string,
  makeLab: () => Promise<StoreLab>,
  { losesReplies = false }: Pick<StoreCasesOptions, "losesReplies"> = {},
): void {
  registerCases(name, makeLab, [], losesReplies);
}

function registerCases<L extends StoreLab>(
  name: string,
  makeLab: () => Promise<L>,
  others: readonly StoreCase<L>[],
  losesReplies: boolean,
): void {
  Deno.test(`${name}: calls and watches`, async (t) => {
    const lines: string[] = [];
    configureLog({ write: (line) => lines.push(line) });
    await using lab = await makeLab();
    let number = 0;
    const cases = [
      ...[...kvCases, ...callCases, ...watchCases, ...modelCases],
      ...(losesReplies ? lostReplyCases : []),
      ...others,
    ];
    for (const [sentence, run] of cases) {
      await t.step(sentence, async () => {
        lines.length = 0;
        await run({ lab, prefix: `/cases/net${number++}`, log: lines });
      });
    }
  });
}
