/**
 * Draws a network: this host in the middle, its peers around it, a line for each link.
 *
 * @module
 */
import { bits, foremost, milliseconds, percent } from "./rates.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560;
/** So many names can still be read. */
const MOST = 16;

/** Makes an element. Texts from the agent only ever become text nodes. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Returns the drawing. Dashes and text distinguish links without colour. */
export function drawing(network, list) {
  const shown = foremost(list, MOST).sort((a, b) => list.indexOf(a) - list.indexOf(b));
  const height = shown.length > 6 ? 520 : 420;
  const centre = { x: WIDTH / 2, y: height / 2 };
  const parts = shown.map((link, i) => {
    // From the top, clockwise; an ellipse, since names are wide.
    const angle = 2 * Math.PI * (i / shown.length) - Math.PI / 2;
    const at = {
      x: centre.x + Math.cos(angle) * (WIDTH / 2 - 70),
      y: centre.y + Math.sin(angle) * (height / 2 - 40),
    };
    return { line: line(link, centre, at), label: label(link, centre, at), node: peer(link, at) };
  });
  const hidden = list.length - shown.length + network.peers.omitted;
  const title = `${list.length} peers of ${network.host.publicIP}, by link: ` +
    list.slice(0, MOST).map((link) => `${link.subnet} ${words(link).join(", ")}`).join("; ");
  return element(
    "div",
    {},
    shape(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title },
      ...parts.map(({ line }) => line),
      ...parts.flatMap(({ label }) => label),
      ...parts.map(({ node }) => node),
      self(network, centre),
    ),
    ...(hidden > 0
      ? [element("p", { class: "note" }, `${hidden} more: see the table, or flanneld status.`)]
      : []),
  );
}

/** Returns the text of a link. */
function words(link) {
  if (link.state === "refused") return ["refused"];
  const time = link.loss > 0
    ? `${milliseconds(link.roundTrip)}, ${percent(link.loss)} lost`
    : milliseconds(link.roundTrip);
  return link.rate === null
    ? [time]
    : [time, `↑ ${bits(link.rate.sent)} ↓ ${bits(link.rate.received)}`];
}

/** From 1.5 for a link that is still to 9 for one of 10 Gbit/s, by magnitude. */
function thickness({ rate }) {
  const busy = rate ? (rate.sent + rate.received) * 8 : 0;
  return 1.5 + Math.min(7.5, Math.max(0, Math.log10(busy / 1000 + 1)) * 1.07);
}

function line(link, from, to) {
  return shape("line", {
    ...{ x1: from.x, y1: from.y, x2: to.x, y2: to.y },
    class: `link ${link.state}`,
    "stroke-width": thickness(link).toFixed(1),
  });
}

function label(link, from, to) {
  // Of two lines, in the middle between the boxes.
  const x = (from.x + to.x) / 2;
  const y = (from.y + to.y) / 2 - 2;
  return words(link).map((text, i) =>
    shape("text", { x, y: y + i * 13, class: "halo soft" }, text)
  );
}

function peer(link, { x, y }) {
  return box(x, y, "node", link.hostname ?? link.publicIP, link.subnet);
}

function self({ host, lease }, { x, y }) {
  return box(x, y, "node self", host.publicIP, lease?.subnet ?? "no lease yet");
}

function box(x, y, kind, name, subnet) {
  return shape(
    "g",
    {},
    shape("rect", { x: x - 64, y: y - 19, width: 128, height: 38, rx: 6, class: kind }),
    shape("text", { x, y: y - 3 }, name.length > 19 ? `${name.slice(0, 18)}…` : name),
    shape("text", { x, y: y + 12, class: "soft" }, subnet),
  );
}
