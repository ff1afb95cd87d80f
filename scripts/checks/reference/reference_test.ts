import { assert, assertEquals, assertMatch } from "@std/assert";
import { collectStatus } from "../../../mod/agent/status/report.ts";
import { PeerProbe } from "../../../mod/agent/status/peer_probe.ts";
import { labLease, labView } from "../../../mod/agent/testing/status_view_lab.ts";
import { formatSubnetEnv } from "../../../mod/export/subnet_env.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { decodeNodeRecord, encodeNodeRecord } from "../../../mod/lease/node_record.ts";
import { decodeLeaseValue, encodeLeaseValue } from "../../../mod/lease/value.ts";
import { projectRoot } from "../module_graph.ts";
import { configKeyProblems } from "./config_keys.ts";
import { readMetrics } from "./metrics.ts";
import { type Schema, statusSchema } from "./status_schema.ts";

const DOCS = `${projectRoot()}/docs/reference`;
const PROMETHEUS = `${DOCS}/prometheus`;

/** Runs promtool. @returns its output; fails with it */
async function promtool(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("promtool", { args }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, text);
  return text;
}

/** Writes a file for promtool, which reads JSON as YAML. */
async function withFile(content: unknown, use: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".yml" });
  try {
    await Deno.writeTextFile(path, JSON.stringify(content));
    await use(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("config.md has every key, and configKeyProblems() finds each kind of mistake", async () => {
  const text = await Deno.readTextFile(`${DOCS}/config.md`);
  assertEquals(await configKeyProblems(text), []);
  const mistakes: [from: string | RegExp, to: string, problem: RegExp][] = [
    [/^\| `GBP`.*\n/m, "", /"Backend vxlan": key GBP is missing/],
    ["| `GBP` ", "| `GPB` ", /no code reads key GPB/],
    ["0 to 16777215", "0 to 16777214", /VNI of 16777215 is accepted/],
    ["1 to 86400", "0 to 86400", /RepairPeriod of 0 is refused/],
    ["`8472`", "`4789`", /4789 is not the default of Port/],
    ['`"VNI": 7`', '`"VNI": "7"`', /the example "VNI": "7" is refused/],
    [/(\| `VNI` +\|) integer/, "$1 boolean", /VNI is no boolean/],
    ["## Backend ipip", "## Backend ipi", /no section "Backend ipip"/],
  ];
  for (const [from, to, problem] of mistakes) {
    const problems = await configKeyProblems(text.replace(from, to));
    assertMatch(problems.join("\n"), problem);
  }
});

Deno.test("readMetrics() misses no metric that metrics.ts names", async () => {
  const metrics = await readMetrics();
  const names = metrics.map(({ name }) => name);
  const source = await Deno.readTextFile(`${projectRoot()}/mod/agent/status/metrics.ts`);
  for (const [, name] of source.matchAll(/"((?:flanneld|process)_\w*[a-z])"/g)) {
    assert(names.includes(name!), name);
  }
  const labels = new Map(metrics.map(({ name, labels }) => [name, labels]));
  assertEquals(labels.get("flanneld_peer_sent_bytes_total"), ["subnet", "public_ip"]);
  assertEquals(labels.get("flanneld_store_call_seconds"), ["call"]);
  assertEquals(labels.get("flanneld_ready"), []);
});

Deno.test("status.schema.json describes the status of an agent, and nothing with a member less", async () => {
  const schema = JSON.parse(await Deno.readTextFile(`${DOCS}/status.schema.json`)) as Schema;
  const view = labView([labLease(2)], { status: { stopped: "the device is gone" } });
  const { signal } = new AbortController();
  const source = {
    views: () => [view],
    waiting: () => [],
    isReady: () => true,
    watchBound: 60,
    metricsPeers: 10,
    signal,
  };
  const probe = new PeerProbe(source.views, signal);
  const status = await collectStatus(source, { unhealthy: [], probe, peers: 10, withHosts: false });
  const value = JSON.parse(JSON.stringify(status));
  assertEquals(violations(value, schema, schema), []);
  assertEquals(violations({ ...value, ready: 1 }, schema, schema), ["$.ready: not boolean"]);
  const { time: _, ...without } = value;
  assertEquals(violations(without, schema, schema), ["$: time is missing"]);
  value.networks[0].peers.list[0].publicIP = null;
  assertEquals(violations(value, schema, schema), [
    "$.networks[0].peers.list[0].publicIP: not string",
  ]);
});

/** Validates a value by as much of JSON Schema as {@linkcode statusSchema} writes. */
function violations(value: unknown, schema: Schema, root: Schema, path = "$"): string[] {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.replace("#/$defs/", "");
    return violations(value, (root.$defs as Record<string, Schema>)[name]!, root, path);
  }
  if (schema.anyOf !== undefined) {
    const found = (schema.anyOf as Schema[]).map((part) => violations(value, part, root, path));
    return found.some((part) => part.length === 0) ? [] : found[0]!;
  }
  if ("const" in schema) return value === schema.const ? [] : [`${path}: not ${schema.const}`];
  if (schema.enum !== undefined) {
    return (schema.enum as unknown[]).includes(value) ? [] : [`${path}: not of ${schema.enum}`];
  }
  const type = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  if (type !== schema.type) return [`${path}: not ${schema.type}`];
  if (type === "array") {
    return (value as unknown[]).flatMap((item, at) =>
      violations(item, schema.items as Schema, root, `${path}[${at}]`)
    );
  }
  if (type !== "object") return [];
  const required = schema.required as string[] ?? [];
  const missing = required.filter((name) => !Object.hasOwn(value as object, name));
  const properties = schema.properties as Record<string, Schema> ?? {};
  return [
    ...missing.map((name) => `${path}: ${name} is missing`),
    ...Object.entries(value as object).flatMap(([name, member]) => {
      const part = properties[name] ?? schema.additionalProperties as Schema | undefined;
      return part === undefined ? [] : violations(member, part, root, `${path}.${name}`);
    }),
  ];
}

Deno.test("statusSchema() refuses a type that it does not know", () => {
  let message = "";
  try {
    statusSchema("export interface A {\n  readonly a: Map<string, string>;\n}\n", "A");
  } catch (error) {
    message = (error as Error).message;
  }
  assertMatch(message, /^(unknown token|expected)|begins no type/);
});

Deno.test("promtool accepts the scrape config and the alert rules", async () => {
  await withFile({
    scrape_config_files: [`${PROMETHEUS}/scrape.yml`],
    rule_files: [`${PROMETHEUS}/alerts.yml`],
  }, async (path) => assertMatch(await promtool("check", "config", path), /11 rules found/));
});

Deno.test("the alert rules fire when they should, and not before", async () => {
  const labels = { instance: "host100:8286", job: "flanneld" };
  const series = (name: string, values: string, more = "") => ({
    series: `${name}{instance="host100:8286",job="flanneld"${more}}`,
    values,
  });
  const alert = (alertname: string, eval_time: string, severity?: string, more = {}) => ({
    alertname,
    eval_time,
    exp_alerts: severity === undefined ? [] : [{ exp_labels: { ...labels, severity, ...more } }],
  });
  const peer = ',public_ip="172.28.128.101",subnet="10.20.2.0/24"';
  await withFile({
    rule_files: [`${PROMETHEUS}/alerts.yml`],
    evaluation_interval: "1m",
    tests: [{
      interval: "1m",
      input_series: [
        series("up", "1x5 0x30"),
        series("flanneld_healthy", "1x5 0x30"),
        series("flanneld_lease_expiry_seconds", "86400x10 1700x30"),
        series("flanneld_watch_down_seconds", "0+60x40"),
        series("flanneld_peer_echoes_total", "0+4x40", peer),
        series("flanneld_peer_lost_echoes_total", "0x10 0+4x40", peer),
        series("flanneld_dropped_packets_total", "0+6000x40", ',reason="send_device"'),
      ],
      alert_rule_test: [
        alert("FlanneldUnhealthy", "6m"),
        alert("FlanneldNotReady", "40m"),
        alert("FlanneldDrops", "40m"),
        alert("FlanneldLeaseExpiresSoon", "9m"),
        alert("FlanneldStoreNotFollowed", "5m"),
        alert("FlanneldPeerUnreachable", "10m"),
      ],
    }],
  }, async (path) => assertMatch(await promtool("test", "rules", path), /SUCCESS/));
  const firing = await firingAlerts([
    series("up", "1x5 0x30"),
    series("flanneld_healthy", "1x5 0x30"),
    series("flanneld_lease_expiry_seconds", "1700x40"),
    series("flanneld_watch_down_seconds", "0+60x40"),
    series("flanneld_peer_echoes_total", "0+4x40", peer),
    series("flanneld_peer_lost_echoes_total", "0+4x40", peer),
    series("flanneld_dropped_packets_total", "0+6000x40", ',reason="send_no_route"'),
  ]);
  assertEquals(firing, [
    "FlanneldDown",
    "FlanneldDrops",
    "FlanneldLeaseExpiresSoon",
    "FlanneldPeerUnreachable",
    "FlanneldStoreNotFollowed",
    "FlanneldUnhealthy",
  ]);
});

/** Names of the alerts that fire after half an hour of these series. */
async function firingAlerts(series: readonly unknown[]): Promise<string[]> {
  let names: string[] = [];
  await withFile({
    rule_files: [`${PROMETHEUS}/alerts.yml`],
    evaluation_interval: "1m",
    tests: [{
      interval: "1m",
      input_series: series,
      // The expression is wrong on purpose: promtool prints what it got.
      promql_expr_test: [{
        expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
        eval_time: "30m",
        exp_samples: [],
      }],
    }],
  }, async (path) => {
    const { stdout, stderr } = await new Deno.Command("promtool", {
      args: ["test", "rules", path],
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    names = Array.from(text.matchAll(/alertname=\\?"(\w+)/g), ([, name]) => name!);
  });
  return [...new Set(names)].sort();
}

Deno.test("alerts and dashboard name metrics that exist, in expressions that parse", async () => {
  const names = new Set((await readMetrics()).map(({ name }) => name));
  const dashboard = JSON.parse(await Deno.readTextFile(`${PROMETHEUS}/dashboard.json`)) as {
    panels: { title: string; targets: { expr: string }[] }[];
  };
  const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  const alerts = await Deno.readTextFile(`${PROMETHEUS}/alerts.yml`);
  for (const text of [...expressions, alerts]) {
    for (const [, name] of text.matchAll(/\b(flanneld_\w+?)(?:_bucket)?\b(?![.\w])/g)) {
      assert(names.has(name!), name);
    }
  }
  assert(expressions.length > 10);
  const rules = expressions.map((expr, at) => ({ record: `panel:${at}`, expr }));
  await withFile({ groups: [{ name: "dashboard", rules }] }, async (path) => {
    assertMatch(await promtool("check", "rules", path), new RegExp(`${rules.length} rules found`));
  });
});

Deno.test("formats.md shows subnet.env, a lease and a node record as they are written", async () => {
  const text = await Deno.readTextFile(`${DOCS}/formats.md`);
  const blocks = Array.from(text.matchAll(/^```\w+\n(.*?)^```$/gms), ([, block]) => block!);
  const [env, lease, record] = blocks as [string, string, string];
  const subnet = Prefix.parse("10.20.19.0/24")!;
  const network = Prefix.parse("10.20.0.0/16")!;
  assertEquals(env, formatSubnetEnv({ network, subnet, mtu: 1450, ipMasq: false }));
  const oneLine = (json: string) => JSON.stringify(JSON.parse(json));
  assertEquals(encodeLeaseValue(decodeLeaseValue(lease), "v0.20"), oneLine(lease));
  assertEquals(encodeNodeRecord(decodeNodeRecord(record)!), oneLine(record));
  const source = await Deno.readTextFile(`${projectRoot()}/mod/lease/node_record.ts`);
  const members = Array.from(source.matchAll(/^ {2}readonly (\w+)\??: /gm), ([, name]) => name!);
  const section = text.split("## Node record")[1]!.split("\n## ")[0]!;
  const rows = Array.from(section.matchAll(/^\| `(\w+)` /gm), ([, name]) => name!);
  assertEquals(
    rows.toSorted(),
    members.filter((name) => !["publicIP", "record", "revision"].includes(name)).toSorted(),
  );
});
