import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { browse } from "../../lab/browser/browser.ts";
import { Lab } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { LabUnit } from "../../lab/unit.ts";
import { PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

const PORT = 8286;
const PAGE = `http://127.0.0.1:${PORT}/`;
const OPTIONS = `-iface=eth1 -healthz-port=${PORT}`;
/** Until the first rates are there: two answers. */
const DRAWN = `document.querySelector("tbody .number")?.textContent.includes("bit/s") ?? false`;
const TEXT = "document.body.innerText";
/** By how many pixels the page is wider than the window. */
const OVERFLOW = "Math.max(0, document.documentElement.scrollWidth - innerWidth)";

Deno.test("flanneld draws the cluster on a page that follows it live, on a desk and on a phone", async () => {
  await using lab = await Lab.start({ hosts: 4 });
  await using stack = new AsyncDisposableStack();
  const [first, ...others] = lab.hosts;
  const etcd = stack.use(await LabEtcd.start(first!));
  await etcd.set("v2", `${PREFIX}/config`, '{"Network": "10.20.0.0/16"}');
  for (const host of lab.hosts) {
    await writeSysconfig(host, etcd, { options: OPTIONS });
    stack.use(await LabUnit.start(host));
  }
  const subnets = await Promise.all(others.map(subnetOf));
  const shots = ["/tmp/desk.png", "/tmp/dark.png", "/tmp/phone.png"] as const;
  // Something to see on two of the links.
  for (const subnet of subnets.slice(0, 2)) {
    const flow = ["busybox", "ping", "-q", "-s", "1400", "-i", "0.01", "-c", "60000"];
    stack.use(await first!.spawn([...flow, subnet.replace("/24", "")]));
  }

  const desk = await browse(first!, [
    { width: 1100, height: 700 },
    { scheme: "light" },
    { open: PAGE },
    { until: DRAWN },
    { until: `${TEXT}.match(/\\d ms/g)?.length >= 6` },
    { evaluate: TEXT },
    { evaluate: OVERFLOW },
    { evaluate: `document.querySelector("svg").getAttribute("aria-label")` },
    { evaluate: `document.querySelectorAll("svg .link.good").length` },
    { screenshot: shots[0] },
    { scheme: "dark" },
    { evaluate: "getComputedStyle(document.body).backgroundColor" },
    { screenshot: shots[1] },
    { scheme: "light" },
    { width: 390, height: 800 },
    { evaluate: OVERFLOW },
    { screenshot: shots[2] },
  ]);
  assertEquals(desk.complaints, []);
  const [text, overflow, label, links, dark, phoneOverflow] = desk.results.filter((r) =>
    r !== null
  );
  for (const subnet of subnets) assertStringIncludes(String(text), subnet);
  for (const { address } of others) assertStringIncludes(String(text), address);
  assertMatch(String(text), /Healthy and ready/);
  assertMatch(String(text), new RegExp(`Subnet\\s+${await subnetOf(first!)}`));
  assertMatch(String(text), /udp on flannel0, MTU 1472 for containers/);
  assertMatch(String(text), /3 peers, 0 refused/);
  assertMatch(String(label), /^3 peers of 172\.28\.128\.100/);
  assertMatch(String(label), /[\d.]+ ms, ↑ [\d.]+ [kM]bit\/s ↓ [\d.]+ [kM]bit\/s/);
  assertEquals([overflow, links, phoneOverflow], [0, 3, 0]);
  assert(dark !== "rgb(251, 251, 249)", "the same by night");
  const keep = Deno.env.get("FLANNELD_SCREENSHOTS");
  for (const shot of shots) {
    const png = await Deno.readFile(first!.path(shot));
    assertEquals([...png.subarray(1, 4)], [..."PNG"].map((c) => c.charCodeAt(0)));
    if (keep !== undefined) await Deno.writeFile(`${keep}/${shot.split("/").at(-1)}`, png);
  }

  // The page reports the end of a host by itself.
  const watching = browse(first!, [
    { open: PAGE },
    { until: DRAWN },
    { evaluate: "window.same = 1" },
    { until: `document.querySelector(".link.lost") !== null` },
    { evaluate: `[window.same, ${TEXT}]` },
  ]);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await others[2]!.exec(["ip", "link", "set", "eth1", "down"]);
  const { results, complaints } = await watching;
  assertEquals(complaints, []);
  const [same, after] = results.at(-1) as [number, string];
  assertEquals(same, 1, "the page was loaded again");
  assertMatch(after, /no answer/);
});
