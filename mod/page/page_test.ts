import { assert, assertEquals, assertMatch } from "@std/assert";
import { clusterPage, joinModules } from "./page.ts";

Deno.test("clusterPage() is one document, with a policy that allows its own script and style only", async () => {
  const response = await clusterPage();
  const body = await response.text();
  const policy = response.headers.get("content-security-policy")!;
  for (const [tag, kind] of [["style", "style-src"], ["script", "script-src"]] as const) {
    const [, text] = new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`).exec(body)!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
    assert(policy.includes(`${kind} 'sha256-${hash}'`), policy);
  }
  // No outside resource: nothing is named that has a host. The name of SVG is no address.
  assertEquals(
    body.replace("http://www.w3.org/2000/svg", "").match(/(https?:)?\/\/[a-z0-9]/gi),
    null,
  );
  assertEquals(body.includes("/* page."), false);
});

Deno.test("clusterPage() holds a script that is whole: no import is left, and it parses", async () => {
  const [, script] = /<script[^>]*>([^]*?)<\/script>/.exec(await (await clusterPage()).text())!;
  assertEquals(script!.match(/^(import|export) /m), null);
  new Function(`return async () => {${script}}`);
});

Deno.test("joinModules() takes imports of one line and of several out, and exports too", () => {
  const joined = joinModules([
    "export const a = 1;\nconst text = 'export';\n",
    'import { a } from "./a.js";\nimport {\n  b,\n} from "./b.js";\nexport function c() {}\n',
  ]);
  assertMatch(joined, /^const a = 1;\nconst text = 'export';\n\nfunction c\(\) {}\n$/);
});
