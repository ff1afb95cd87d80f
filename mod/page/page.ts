/**
 * The agent's page, `/`: the cluster as this host sees it. One document without outside resources: its
 * style and its script are in it, and its policy allows no others.
 *
 * @module
 */

/** In the order in which they need each other. */
const SCRIPTS = [
  new URL("./rates.js", import.meta.url),
  new URL("./drawing.js", import.meta.url),
  new URL("./page.js", import.meta.url),
];
const STYLE = new URL("./page.css", import.meta.url);
const DOCUMENT = new URL("./page.html", import.meta.url);

let page: Promise<{ readonly body: string; readonly policy: string }> | undefined;

/** Answers with the page. It is put together once, for the first who asks. */
export async function clusterPage(): Promise<Response> {
  const { body, policy } = await (page ??= assemble());
  return new Response(body, {
    headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": policy },
  });
}

async function assemble(): Promise<{ body: string; policy: string }> {
  const style = await Deno.readTextFile(STYLE);
  const script = joinModules(await Promise.all(SCRIPTS.map((url) => Deno.readTextFile(url))));
  const document = await Deno.readTextFile(DOCUMENT);
  return {
    // By functions: in a text `$&` would mean something.
    body: document
      .replace(/(?<=<style>)[^]*(?=<\/style>)/, () => style)
      .replace(/(?<=<script type="module">)[^]*(?=<\/script>)/, () => script),
    // CSP 3: nothing but what has these hashes, and questions to where it came from.
    policy: [
      "default-src 'none'",
      `script-src '${await hash(script)}'`,
      `style-src '${await hash(style)}'`,
      "connect-src 'self'",
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join("; "),
  };
}

/**
 * Makes one module of several that are given in the order in which they import each other: their
 * imports go, and what they export is the whole module's. A name must be declared in one of them only.
 */
export function joinModules(sources: readonly string[]): string {
  return sources
    .map((source) => source.replaceAll(/^import [^;]*;\n/gm, "").replaceAll(/^export /gm, ""))
    .join("\n");
}

async function hash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}
