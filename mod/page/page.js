/**
 * The page: asks for `/status` every other second and draws what changed.
 *
 * @module
 */
import { drawing, element } from "./drawing.js";
import { bits, bytes, duration, links, milliseconds, pairs, percent } from "./rates.js";

/** Milliseconds between two answers. */
const PERIOD = 2000;
/** Rows of a table. */
const PEERS = 500;

const byId = (id) => document.getElementById(id);
const stateWords = { good: "good", lost: "no answer", refused: "refused", unknown: "not probed" };
const colours = { good: "good", lost: "bad", refused: "bad", unknown: "" };

/** The last answer, and when it came (performance.now()). */
let last;

async function refresh() {
  try {
    const response = await fetch(`status?peers=${PEERS}`, { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const answer = await response.json();
    const at = performance.now();
    draw(answer, last?.answer, last ? (at - last.at) / 1000 : 0);
    last = { answer, at };
  } catch (error) {
    const since = last ? ` since ${duration((performance.now() - last.at) / 1000)}` : "";
    setState("bad", `The agent does not answer${since}: ${error.message}. The data below is old.`);
  }
}

function draw(answer, earlier, seconds) {
  const { agent, unhealthy, ready, networks } = answer;
  document.title = `flanneld on ${agent.hostname}`;
  byId("host").textContent = `on ${agent.hostname}`;
  byId("about").textContent = `version ${agent.version}, ${agent.runtime}, up ` +
    `${duration(agent.uptimeSeconds)}, ${bytes(agent.residentBytes)} resident, as of ` +
    new Date(answer.time).toLocaleTimeString();
  if (unhealthy.length > 0) setState("bad", `Unhealthy: ${unhealthy.join("; ")}`);
  else if (!ready) setState("wait", "Not ready: a network has no lease yet");
  else if (networks.some(({ state }) => state === "warning")) {
    setState("wait", "Ready, with warnings");
  } else setState("good", "Healthy and ready");
  byId("networks").replaceChildren(
    ...pairs(answer, earlier).map(([network, before]) =>
      section(network, before, seconds, answer.time)
    ),
  );
}

function setState(colour, text) {
  const state = byId("state");
  state.className = colour;
  // Read out only when it is another one.
  if (state.textContent !== text) state.textContent = text;
}

function section(network, before, seconds, time) {
  const list = links(network, before, seconds);
  const name = network.name === "" ? "Network" : `Network ${network.name}`;
  return element(
    "section",
    { "data-network": network.name },
    element("h2", {}, `${name} ${network.network ?? "(no config yet)"}`),
    ...warnings(network.warnings, time),
    element(
      "div",
      { class: "columns" },
      element(
        "div",
        {},
        facts(network, time),
        ...repairs(network.repairs, time),
        ...drops(network),
      ),
      list.length > 0
        ? drawing(network, list)
        : element("p", { class: "note" }, "No other host has a lease."),
    ),
    ...(list.length > 0 ? [table(list, network)] : []),
  );
}

function warnings(list, time) {
  if (list.length === 0) return [];
  const items = list.map(({ since, message }) =>
    element("li", { class: "bad" }, `For ${apart(since, time)}: ${message}`)
  );
  return [element("ul", { class: "warnings" }, ...items)];
}

/** Time from one RFC 3339 text to another. */
function apart(from, to) {
  return duration((Date.parse(to) - Date.parse(from)) / 1000);
}

function facts({ host, lease, backend, store, subnetFile, traffic }, time) {
  const rows = [
    ["Subnet", lease?.subnet ?? "none yet"],
    [
      "Lease",
      lease &&
      (lease.expires === null
        ? "permanent"
        : `runs out in ${apart(time, lease.expires)}, renewed in ${apart(time, lease.renewal)}`),
    ],
    ["This host", `${host.publicIP} (${host.interface}, MTU ${host.mtu})`],
    [
      "Backend",
      backend &&
      `${backend.type}${
        backend.device ? ` on ${backend.device}` : ""
      }, MTU ${backend.mtu} for containers`,
    ],
    ["Data path", backend?.features],
    [
      "Outside sources",
      backend?.outsideSources &&
      `${
        backend.outsideSources.refused ? "refused" : "accepted"
      }: ${backend.outsideSources.reason}`,
    ],
    ["Store", store.name],
    [
      "Followed",
      store.watching
        ? `yes, for ${apart(store.since, time)}`
        : `no, for ${apart(store.since, time)}`,
    ],
    [
      "Carried",
      traffic && `${bytes(traffic.sentBytes)} sent, ${bytes(traffic.receivedBytes)} received`,
    ],
    ["File", subnetFile],
  ];
  const pairs = rows.filter(([, value]) => value).flatMap(([term, value]) => [
    element("dt", {}, term),
    element("dd", {}, value),
  ]);
  return element("dl", {}, ...pairs);
}

function repairs({ total, recent }, time) {
  if (total === 0) return [element("p", { class: "note" }, "Nothing had to be repaired.")];
  const items = recent.slice(0, 5).map(({ time: when, what }) =>
    element("li", {}, `${what}, ${apart(when, time)} ago`)
  );
  return [element("h3", {}, `${total} repairs`), element("ul", {}, ...items)];
}

function drops({ traffic }) {
  const reasons = Object.entries(traffic?.drops ?? {});
  if (reasons.length === 0) return [];
  const items = reasons.map(([reason, count]) => element("li", {}, `${reason}: ${count}`));
  return [element("h3", {}, "Dropped packets"), element("ul", {}, ...items)];
}

const COLUMNS = [
  ["Subnet", ({ subnet }) => subnet],
  ["Host", ({ hostname, publicIP }) => hostname ? `${hostname} (${publicIP})` : publicIP],
  ["Agent", ({ version }) => version ?? "flannel, or older"],
  ["Way", ({ backend, path }) => path === null ? backend : `${backend}, ${path}`],
  ["Sends", ({ rate }) => bits(rate?.sent ?? null), "number"],
  ["Receives", ({ rate }) => bits(rate?.received ?? null), "number"],
  ["Round trip", ({ roundTrip }) => milliseconds(roundTrip), "number"],
  ["Lost", (link) => percent(link.loss), "number"],
];

function table(list, { peers }) {
  const labels = [...COLUMNS.map(([label]) => label), "State"];
  const rows = list.map((link) => {
    const cells = COLUMNS.map(([label, value, kind = ""]) =>
      element("td", { "data-label": label, class: kind }, value(link))
    );
    const state = link.refused === null ? stateWords[link.state] : `refused: ${link.refused}`;
    cells.push(element("td", { "data-label": "State", class: colours[link.state] }, state));
    return element("tr", {}, ...cells);
  });
  const rest = peers.omitted > 0 ? `; ${peers.omitted} more are not listed` : "";
  return element(
    "table",
    {},
    element("caption", {}, `${peers.count} peers, ${peers.refused} refused${rest}`),
    element(
      "thead",
      {},
      element("tr", {}, ...labels.map((label) => element("th", { scope: "col" }, label))),
    ),
    element("tbody", {}, ...rows),
  );
}

/** One answer after the other; none for a page that nobody sees. */
async function follow() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
}

follow();
