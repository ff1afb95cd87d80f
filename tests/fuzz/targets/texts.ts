/** Readers of texts without a structure of their own: XML, INI, shell variables, saved rules, nft's JSON. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { failureOf } from "../../../backends/aws_vpc/query_api.ts";
import { parseIni } from "../../../backends/aws_vpc/shared_files.ts";
import { parseXml, type XmlElement, XmlError } from "../../../backends/aws_vpc/xml.ts";
import { decodeFailure } from "../../../backends/gce/failure.ts";
import { readLegacyTrace } from "../../../mod/doctor/trace/legacy_trace.ts";
import { dockerOptions } from "../../../mod/export/docker_opts.ts";
import { doubleQuote, parseDotenv } from "../../../mod/export/dotenv.ts";
import { ExportError } from "../../../mod/export/errors.ts";
import { FirewallError } from "../../../mod/firewall/errors.ts";
import {
  parseNftBaseChains,
  parseNftForeignTable,
  parseNftTable,
  parseNftTables,
} from "../../../mod/firewall/nftables/nft_format.ts";
import {
  joinWords,
  parseSave,
  ruleOptions,
  sameRule,
  splitWords,
} from "../../../mod/firewall/iptables/save_format.ts";
import { HttpError, parseHead } from "../../../mod/http/head.ts";
import { printable, printableJson } from "../../../mod/observe/log/printable.ts";
import { hostnameOf } from "../../../mod/server/host_names.ts";
import { LeafFinder } from "../../../mod/store/etcd/v2/leaves.ts";
import { jsonNear, textNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";

const XML = [
  '<?xml version="1.0" encoding="UTF-8"?>\n<DescribeRouteTablesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><routeTableSet><item><routeTableId>rtb-1</routeTableId><routeSet><item><destinationCidrBlock>10.20.93.0/24</destinationCidrBlock><instanceId>i-1</instanceId><state>active</state></item></routeSet></item></routeTableSet></DescribeRouteTablesResponse>',
  "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not. Encoded authorization failure message: abc</Message></Error></Errors><RequestID>2</RequestID></Response>",
  "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>a &lt; b &#65; <![CDATA[c]]><!-- d --></Message></Error></ErrorResponse>",
];

export const awsXml: FuzzTarget<string> = {
  name: "aws_xml",
  seeds: XML,
  inputs: textNear(XML, ["<a>", "</a>", "<a/>", "&amp;", "&#x41;", "<?xml ?>", "<!DOCTYPE a>"]),
  start: () => (text) => {
    failureOf(403, text, "ec2:CreateRoute");
    const root = refusing([XmlError], () => parseXml(text));
    if (root === undefined) return;
    const again = parseXml(writeXml(root));
    assertEquals(again, root);
  },
};

function writeXml({ name, children, text }: XmlElement): string {
  // A carriage return would be read as a line feed (XML 1.0, 2.11).
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("\r", "&#13;")
    .replaceAll(">", "&gt;");
  return `<${name}>${children.map(writeXml).join("")}${escaped}</${name}>`;
}

const GCE_FAILURES = [
  '{"error":{"code":403,"message":"Required permission","errors":[{"message":"m","domain":"global","reason":"forbidden"}],"status":"PERMISSION_DENIED"}}',
];

export const gceFailure: FuzzTarget<string> = {
  name: "gce_failure",
  seeds: GCE_FAILURES,
  inputs: jsonNear(GCE_FAILURES, ["error", "errors", "reason", "message", "toString"]),
  start: () => (text) => {
    const { reason, message } = decodeFailure(403, text);
    assert(typeof reason === "string" && typeof message === "string");
  },
};

const INI = [
  "[default]\naws_access_key_id = AKIA\naws_secret_access_key=secret # not a comment\n[profile b]\nregion=eu-west-1\ns3 =\n  nested = 1\n",
];

export const awsIni: FuzzTarget<string> = {
  name: "aws_ini",
  seeds: INI,
  inputs: textNear(INI, ["[", "]", "=", "\n", "#", ";", "[profile ", "\n  "]),
  start: () => (text) => void parseIni(text),
};

const DOTENV = [
  "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
  "export FLANNEL_OPTIONS=\"-iface=eth0 --v='2'\" # comment\r\nA=a\\\nb\nB='c\nd'\n",
];

export const subnetEnv: FuzzTarget<string> = {
  name: "subnet_env",
  seeds: DOTENV,
  inputs: textNear(DOTENV, ["FLANNEL_SUBNET=", "\\\n", "export ", "DOCKER_OPT_X=", "'", '"']),
  start: () => (text) => {
    const variables = parseDotenv(text);
    const written = [...variables].map(([name, value]) => `${name}=${doubleQuote(value)}\n`);
    // A carriage return before a line feed is part of the line's end in such files.
    const isExact = !text.includes("\r");
    if (isExact) assertEquals(parseDotenv(written.join("")), variables);
    const request = { individual: true, combined: true, key: "DOCKER_OPTS", ipMasq: true };
    const options = refusing([ExportError], () => dockerOptions(variables, request));
    if (options === undefined || !isExact) return;
    assert(parseDotenv(options).has("DOCKER_OPTS"));
  },
};

const SAVED = [
  '*filter\n:INPUT ACCEPT [120:9600]\n:FLANNEL-FWD - [0:0]\n-A FORWARD -m comment --comment "a \\"b\\" \\\\ d" -j ACCEPT\n-A FLANNEL-FWD -s 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING ! -d 224.0.0.0/4 -j MASQUERADE --random-fully\nCOMMIT\n',
];

export const savedRules: FuzzTarget<string> = {
  name: "saved_rules",
  seeds: SAVED,
  inputs: textNear(SAVED, ["-A ", ":A - ", "*nat\n", "COMMIT\n", '"', "\\", " ! "]),
  start: () => (text) => {
    for (const chains of parseSave(text).values()) {
      for (const { rules } of chains.values()) {
        for (const rule of rules) {
          const words = splitWords(rule);
          ruleOptions(words);
          assert(sameRule(words, words));
          assertEquals(splitWords(joinWords(words)), words);
        }
      }
    }
  },
};

const NFT = [
  '{"nftables":[{"metainfo":{"version":"1.1.3","json_schema_version":1}},{"table":{"family":"ip","name":"flannel-ipv4","handle":1,"flags":["owner"]}},{"chain":{"family":"ip","table":"t","name":"c","handle":1,"type":"nat","hook":"postrouting","prio":100,"policy":"accept"}},{"rule":{"family":"ip","table":"t","chain":"c","handle":2,"comment":"x","expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.20.0.0","len":16}}}},{"match":{"op":"==","left":{"&":[{"meta":{"key":"mark"}},16384]},"right":16384}},{"masquerade":{"flags":"fully-random"}}]}},{"set":{"name":"peers","elem":[1]}}]}',
];

export const nftJson: FuzzTarget<string> = {
  name: "nft_json",
  seeds: [
    ...NFT,
    ...["null", "7", '"x"', "[]", "{}", '{"toString":1}'].flatMap((odd) => [
      `{"nftables":[${odd}]}`,
      `{"nftables":[{"table":${odd}},{"chain":${odd}},{"rule":${odd}}]}`,
      `{"nftables":[{"chain":{"name":${odd},"hook":${odd},"prio":${odd}}}]}`,
      `{"nftables":[{"chain":{"name":"c"}},{"rule":{"chain":"c","expr":[${odd}]}}]}`,
      `{"nftables":[{"rule":{"handle":${odd},"expr":[{"match":${odd}},{"masquerade":${odd}}]}}]}`,
    ]),
  ],
  inputs: jsonNear(NFT, ["nftables", "table", "chain", "rule", "expr", "match", "hook", "flags"]),
  start: () => (text) => {
    for (const parse of [parseNftTable, parseNftForeignTable, parseNftBaseChains, parseNftTables]) {
      refusing([FirewallError], () => void parse(text));
    }
  },
};

const HEADS = [
  "GET /v1/_/leases?next=a%2Eb HTTP/1.1\r\nHost: h:1\r\nUser-Agent: Go-http-client/1.1\r\nConnection: keep-alive, close\r\n\r\n",
  "PUT http://[::1]:8888/v1/_/store/config HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\nOrigin: null\r\n\r\n",
];

export const httpHead: FuzzTarget<string> = {
  name: "http_head",
  seeds: HEADS,
  inputs: textNear(HEADS, [
    "\r\n",
    ": ",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "HTTP/1.1",
  ]),
  start: () => (text) => {
    const head = refusing([HttpError], () => parseHead(text));
    if (head === undefined) return;
    assert(head.path.startsWith("/") && !head.path.includes("?"));
    assert(Number.isSafeInteger(head.contentLength) && head.contentLength >= 0);
    if (head.authority !== undefined) hostnameOf(head.authority);
  },
};

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const LOG_TEXTS = ["a\u0085b\x1b[31mc", '{"a":"\u009b31m\\u0007"}'];

/** Text for a terminal has no control character. */
export const printableText: FuzzTarget<string> = {
  name: "printable_text",
  seeds: LOG_TEXTS,
  inputs: textNear(LOG_TEXTS, ["\x1b]0;", "\x07", "\u009b", "\u202e", "\n"]),
  start: () => (text) => {
    assert(!/\p{Cc}/u.test(printable(text)), "a control character is left");
    // White space between tokens stays.
    const shown = printableJson(text);
    assert(!/\p{Cc}/u.test(shown.replaceAll("\r\n", "").replaceAll(/[\n\t]/g, "")), "in JSON");
    if (isJson(text)) assertEquals(JSON.parse(shown), JSON.parse(text));
  },
};

const TRACES = ["TRACE: filter:FORWARD:rule:3 ", "TRACE: nat:POSTROUTING:policy:1 "];

export const legacyTrace: FuzzTarget<string> = {
  name: "legacy_trace",
  seeds: TRACES,
  inputs: textNear(TRACES, [":", "TRACE: ", "return", "policy", "rule"]),
  start: () => (text) => void readLegacyTrace(text),
};

const LISTINGS = [
  '{"action":"get","node":{"key":"/a","dir":true,"nodes":[{"key":"/a/b","value":"{\\"x\\":{}}","modifiedIndex":7},{"key":"/a/c","dir":true}]}}',
];

/** Leaves are found alike in whatever pieces a listing arrives. */
export const etcdLeaves: FuzzTarget<{ readonly text: string; readonly pieces: number[] }> = {
  name: "etcd_v2_leaves",
  seeds: LISTINGS.map((text) => ({ text, pieces: [1, 2, 3] })),
  inputs: fc.record({
    text: jsonNear(LISTINGS, ["nodes", "key", "value", "dir"]),
    pieces: fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
  }),
  start: () => ({ text, pieces }) => {
    const [whole, parts]: [string[], string[]] = [[], []];
    const atOnce = new LeafFinder((leaf) => whole.push(leaf));
    atOnce.push(text);
    const inPieces = new LeafFinder((leaf) => parts.push(leaf));
    for (let at = 0, i = 0; at < text.length; at += pieces[i++ % pieces.length]!) {
      inPieces.push(text.slice(at, at + pieces[i % pieces.length]!));
    }
    assertEquals(parts.length === whole.length || !atOnce.complete, true);
  },
};
