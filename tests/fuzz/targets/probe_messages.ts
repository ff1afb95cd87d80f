/** Packets that `flanneld status` and `doctor` read: ICMP echo messages, ARP, queries between hosts, the unix socket's answers. */
import { assert, assertEquals } from "@std/assert";
import { readHeaders } from "../../../mod/doctor/trace/packet.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { HttpClientError, parseResponse } from "../../../mod/http/client.ts";
import {
  decodeContainerMessage,
  encodeContainerMessage,
} from "../../../mod/probe/container_query.ts";
import { readControl } from "../../../mod/probe/control.ts";
import { readEcho, skipIpHeader } from "../../../mod/probe/echo_message.ts";
import { decodeEchoPacket, decodeFrame, encodeFrame } from "../../../mod/probe/frame.ts";
import { bytesNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";

const ip = (text: string) => parseIPv4(text)!;
const [HERE, THERE] = [
  { mac: "a2:3f:60:cf:ae:07", address: ip("10.20.5.1") },
  { mac: "a2:3f:60:cf:ae:08", address: ip("10.20.5.2") },
];
const TOKEN = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

const FRAMES: readonly Uint8Array[] = [
  encodeFrame({ type: "arp", isReply: true, sender: HERE, target: THERE }),
  encodeFrame({
    ...{ type: "echo", source: HERE, destination: THERE },
    echo: { isReply: true, identifier: 7, sequence: 1, token: TOKEN },
  }),
  encodeContainerMessage({ type: "query", nonce: TOKEN, target: HERE.address }),
  encodeContainerMessage({
    ...{ type: "answer", nonce: TOKEN, containers: "answers", container: HERE.address },
    target: "answered",
  }),
  // IP_RECVERR with an offender, and SO_TIMESTAMPNS.
  Uint8Array.of(
    ...[48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 90, 0, 0, 0, 2, 3, 4, 0],
    ...[220, 5, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[32, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 35, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    ...[2, 0, 0, 0, 0, 0, 0, 0],
  ),
];

function atEnd(bytes: Uint8Array): { copy: Uint8Array<ArrayBuffer>; view: DataView } {
  const copy = Uint8Array.from(bytes);
  return { copy, view: new DataView(copy.buffer) };
}

export const probePacket: FuzzTarget<Uint8Array> = {
  name: "probe_packet",
  seeds: FRAMES,
  inputs: bytesNear(FRAMES),
  start: () => (bytes) => {
    const { copy, view } = atEnd(bytes);
    const frame = decodeFrame(copy);
    if (frame?.type === "arp") {
      assertEquals(decodeFrame(encodeFrame(frame))?.type, "arp");
    }
    decodeEchoPacket(view, 0, copy.length);
    const icmp = skipIpHeader(view, 0, copy.length);
    if (icmp !== undefined) assert(icmp <= copy.length);
    readEcho(view, icmp ?? 0, copy.length);
    readControl(view, copy.length);
    readHeaders(copy);
    const message = decodeContainerMessage(view, 0, copy.length);
    if (message !== undefined) {
      const again = encodeContainerMessage(message);
      assertEquals(decodeContainerMessage(new DataView(again.buffer), 0, again.length), message);
    }
  },
};

const encode = (text: string) => new TextEncoder().encode(text);
const RESPONSES = [
  encode("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
  encode("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\nwrong\n"),
  encode("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
];

/** Answers of the agent's unix socket, and of the clouds' metadata servers. */
export const httpResponse: FuzzTarget<Uint8Array> = {
  name: "http_response",
  seeds: RESPONSES,
  inputs: bytesNear(RESPONSES),
  start: () => (bytes) => {
    for (const isEnd of [true, false]) {
      refusing([HttpClientError], () => parseResponse(bytes, isEnd));
    }
  },
};
