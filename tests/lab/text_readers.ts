import { failureOf as awsFailureOf } from "../../backends/aws_vpc/query_api.ts";
import { parseIni } from "../../backends/aws_vpc/shared_files.ts";
import { parseXml } from "../../backends/aws_vpc/xml.ts";
import { decodeFailure } from "../../backends/gce/failure.ts";
import { misspeltKey } from "../../mod/cli/commands/config/hint.ts";
import { decodeNetworkConfig, unknownKeys } from "../../mod/config/mod.ts";
import { parseSave, ruleOptions, splitWords } from "../../mod/firewall/iptables/save_format.ts";
import { decodeLeaseValue, decodeNodeRecord, parseLeaseKey } from "../../mod/lease/mod.ts";
import { printable, printableJson } from "../../mod/observe/log/printable.ts";
import { AccessPolicy } from "../../mod/server/access.ts";
import { hostnameOf } from "../../mod/server/host_names.ts";
import { parseHead } from "../../mod/http/head.ts";
import { toStoreError } from "../../mod/store/etcd/v3/errors.ts";
import { describeFetchError } from "../../mod/store/fetch_error.ts";
import { isNetworkName } from "../../mod/store/network_name.ts";
import { decodeListing, decodePoll } from "../../mod/store/remote/wire.ts";

/** One character of each class that a pattern or a reader here distinguishes, and a few words. */
export const UNITS = [
  ..." \t\n\r,:;.=@&#%?*+-_/\\|\"'`()[]{}<>019aAfxZ~^$\u0085\u00a0\u00e9\u2028",
  "\r\n",
  ": ",
  ", ",
  "](",
  "@1",
  "&amp;",
  "<a>",
  "</a>",
  "<!--",
  '\\"',
  '"a":1,',
  "a=",
] as const;

/** Readers of texts of other origin, each with the place of the text. */
export const READERS: readonly (readonly [string, (text: string) => unknown])[] = [
  ["a header value", (text) => parseHead(`GET / HTTP/1.1\r\nConnection: ${text}\r\n\r\n`)],
  ["a head", (text) => parseHead(`${text}\r\n\r\n`)],
  ["a request target", (text) => parseHead(`GET http://${text} HTTP/1.1\r\n\r\n`)],
  ["a query", (text) => parseHead(`GET /?next=${text} HTTP/1.1\r\n\r\n`)],
  ["a Host", hostnameOf],
  [
    "an Authorization",
    (text) =>
      new AccessPolicy({ token: "token" }).identify({
        headers: new Map([["authorization", `Bearer ${text}`]]),
        peer: { address: "192.0.2.1" },
      }),
  ],
  ["a network's name", isNetworkName],
  ["a lease key", parseLeaseKey],
  ["a lease value", decodeLeaseValue],
  [
    "a backend type",
    (text) => decodeLeaseValue(JSON.stringify({ PublicIP: "192.0.2.1", BackendType: text })),
  ],
  [
    "a node record",
    (text) =>
      decodeNodeRecord(JSON.stringify({
        ...{ machineId: "0", hostname: text, bootId: "0", instance: "0" },
        ...{ version: text, started: text },
      })),
  ],
  ["a server's listing", (text) => decodeListing(text)],
  ["a server's poll", (text) => decodePoll(`{"changes":[${text}`)],
  ["a config", (text) => decodeNetworkConfig(text)],
  [
    "a config's key",
    async (text) => {
      const key = JSON.stringify(text);
      unknownKeys(await decodeNetworkConfig(`{"Network":"10.20.0.0/16",${key}:1}`));
      misspeltKey(`{${key}:1}`);
    },
  ],
  ["a config's value", (text) => decodeNetworkConfig(JSON.stringify({ Network: text }))],
  [
    "etcd's details",
    (text) => toStoreError({ code: 14, details: text, message: text }, {} as never),
  ],
  [
    "a reset by what is no etcd",
    (text) => toStoreError({ code: 13, details: `Received RST_STREAM ${text}` }, {} as never),
  ],
  ["a failed fetch", (text) => describeFetchError(new Error(text))],
  ["an XML document", (text) => parseXml(text)],
  ["an XML element", (text) => parseXml(`<a>${text}</a>`)],
  ["an XML tag", (text) => parseXml(`<a ${text}>`)],
  ["an AWS message", (text) => awsFailure(text)],
  ["a Google answer", (text) => decodeFailure(403, text)],
  ["a shared AWS file", (text) => parseIni(`[a]\n${text}`)],
  ["a section of a shared AWS file", (text) => parseIni(`[${text}`)],
  ["saved rules", (text) => parseSave(`*nat\n:A ACCEPT [0:0]\n-A A ${text}`)],
  ["a rule's comment", (text) => ruleOptions(splitWords(`-m comment --comment "${text}`))],
  ["a line of the log", printable],
  ["JSON that is shown", printableJson],
];

function awsFailure(text: string): unknown {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const error = `<Error><Code>UnauthorizedOperation</Code><Message>${escaped}</Message></Error>`;
  return awsFailureOf(403, `<Response><Errors>${error}</Errors></Response>`, "ec2:CreateRoute");
}
