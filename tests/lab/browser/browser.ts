import type { LabHost } from "../host.ts";

/** Steps of {@linkcode browse}, in order. */
export type BrowserStep =
  | { readonly open: string }
  /** Of the window, in CSS pixels. */
  | { readonly width: number; readonly height: number }
  /** As the reader's system would have it. */
  | { readonly scheme: "light" | "dark" }
  /** Waits until an expression is true. */
  | { readonly until: string }
  /** Its value, which must be fit for JSON, is the step's result. */
  | { readonly evaluate: string }
  /** Writes a PNG of the whole page to a path of the host. */
  | { readonly screenshot: string };

/** Result of {@linkcode browse}. */
export interface Browsed {
  /** One result for each step; `null` of those that have none. */
  readonly results: readonly unknown[];
  /** Warnings and errors of the browser's console, including violations of the page's policy. */
  readonly complaints: readonly string[];
}

const DRIVER = new URL("./browser_driver.ts", import.meta.url).pathname;

/**
 * Runs a Chromium without a window in a host, takes the steps and ends it.
 *
 * @throws {LabCommandError} when it does not start, or a step is not done within a minute
 */
export async function browse(host: LabHost, steps: readonly BrowserStep[]): Promise<Browsed> {
  const output = await host.exec(
    [Deno.execPath(), "run", "-A", "--no-check", "--no-lock", DRIVER],
    { stdin: JSON.stringify(steps), timeout: 300_000 },
  );
  return JSON.parse(output);
}
