/**
 * Drives a Chromium by the DevTools protocol, in the network namespace that it runs in: reads steps
 * from standard input as JSON and writes what they came to.
 *
 * @module
 */
import type { Browsed, BrowserStep } from "./browser.ts";

/** Milliseconds for a step. */
const TIMEOUT_MS = 60_000;

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  "--remote-debugging-port=0",
];

/** A connection to one page. */
class DevTools {
  readonly complaints: string[] = [];
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: { result?: unknown; error?: unknown }) => void>();
  #last = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  static async connect(url: string): Promise<DevTools> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new DevTools(socket);
  }

  // deno-lint-ignore no-explicit-any -- what the protocol answers
  async call(method: string, params: object = {}): Promise<any> {
    const id = ++this.#last;
    const { promise, resolve } = Promise.withResolvers<{ result?: unknown; error?: unknown }>();
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await promise;
    if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }

  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      ...{ expression, returnByValue: true, awaitPromise: true },
    });
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value;
  }

  // deno-lint-ignore no-explicit-any -- a message of the protocol
  #take({ id, method, params, ...answer }: any): void {
    if (id !== undefined) {
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    } else if (method === "Log.entryAdded" && params.entry.level !== "info") {
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ""}`.trim());
    } else if (method === "Runtime.exceptionThrown") {
      const { exception, text } = params.exceptionDetails;
      this.complaints.push(exception?.description ?? text);
    }
  }
}

async function take(page: DevTools, step: BrowserStep): Promise<unknown> {
  if ("open" in step) await page.call("Page.navigate", { url: step.open });
  else if ("width" in step) {
    const { width, height } = step;
    await page.call("Emulation.setDeviceMetricsOverride", {
      ...{ width, height, deviceScaleFactor: 1, mobile: width < 600 },
    });
  } else if ("scheme" in step) {
    const features = [{ name: "prefers-color-scheme", value: step.scheme }];
    await page.call("Emulation.setEmulatedMedia", { features });
  } else if ("until" in step) {
    for (const end = Date.now() + TIMEOUT_MS; await page.evaluate(step.until) !== true;) {
      if (Date.now() > end) {
        const text = await page.evaluate("document.body.innerText");
        throw new Error(`never true: ${step.until}; the page shows: ${text}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } else if ("evaluate" in step) return await page.evaluate(step.evaluate);
  else {
    const { data } = await page.call("Page.captureScreenshot", { captureBeyondViewport: true });
    await Deno.writeFile(step.screenshot, Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
  }
  return null;
}

/** Returns the browser's endpoint, from a file of its profile. */
async function endpoint(profile: string): Promise<string> {
  for (const end = Date.now() + TIMEOUT_MS;;) {
    const text = await Deno.readTextFile(`${profile}/DevToolsActivePort`).catch(() => "");
    if (text.includes("\n")) return `http://127.0.0.1:${text.split("\n")[0]}`;
    if (Date.now() > end) throw new Error("Chromium does not listen");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main(): Promise<void> {
  const steps = await new Response(Deno.stdin.readable).json() as BrowserStep[];
  const profile = await Deno.makeTempDir({ prefix: "flanneld-lab-browser-" });
  const browser = new Deno.Command("chromium", {
    args: [...FLAGS, `--user-data-dir=${profile}`, "about:blank"],
    env: { HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    ...{ stdin: "null", stdout: "null", stderr: "null" },
  }).spawn();
  try {
    const targets = await (await fetch(`${await endpoint(profile)}/json/list`)).json();
    const { webSocketDebuggerUrl } = targets.find(({ type }: { type: string }) => type === "page");
    const page = await DevTools.connect(webSocketDebuggerUrl);
    for (const domain of ["Page", "Runtime", "Log"]) await page.call(`${domain}.enable`);
    const results: unknown[] = [];
    for (const step of steps) results.push(await take(page, step));
    const browsed: Browsed = { results, complaints: page.complaints };
    console.log(JSON.stringify(browsed));
    await page.call("Browser.close").catch(() => {}); // It may be gone before it answers.
  } finally {
    await Promise.race([browser.status, new Promise((resolve) => setTimeout(resolve, 3000))]);
    try {
      browser.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await browser.status;
    await Deno.remove(profile, { recursive: true });
  }
  Deno.exit(0);
}

await main();
