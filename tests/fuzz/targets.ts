import type { FuzzTarget } from "./target.ts";
import { bpfArrival, bpfDecapsulate, bpfEncapsulate } from "./targets/bpf_programs.ts";
import { cloudMetadata, gceApi } from "./targets/clouds.ts";
import { cniConfig, cniLeases, cniSubnetFile, netavark } from "./targets/cni.ts";
import { commandLine } from "./targets/command_line.ts";
import { jsonSyntax, networkConfig } from "./targets/config.ts";
import { httpServer } from "./targets/http_server.ts";
import { leaseValue, nodeRecord, storeEntry } from "./targets/lease_values.ts";
import { linearTime } from "./targets/linear_time.ts";
import { netlinkExchange, netlinkMessage } from "./targets/netlink.ts";
import { httpResponse, probePacket } from "./targets/probe_messages.ts";
import { storeMessage } from "./targets/remote_messages.ts";
import { storeFile } from "./targets/store_file.ts";
import { etcdGateway, etcdGrpc, etcdV2, etcdV3, remoteServer } from "./targets/store_peers.ts";
import {
  awsIni,
  awsXml,
  etcdLeaves,
  gceFailure,
  httpHead,
  legacyTrace,
  nftJson,
  printableText,
  savedRules,
  subnetEnv,
} from "./targets/texts.ts";
import { tlsRecords } from "./targets/tls_records.ts";
import { udpReceive, udpSend } from "./targets/udp_packets.ts";

/** All targets. Their inputs are of many types, which each target alone knows. */
export const TARGETS = [
  ...[udpReceive, udpSend, bpfEncapsulate, bpfDecapsulate, bpfArrival],
  ...[netlinkMessage, netlinkExchange, probePacket],
  ...[leaseValue, nodeRecord, storeEntry, networkConfig, jsonSyntax],
  ...[httpHead, httpServer, tlsRecords, storeMessage],
  ...[etcdV2, etcdLeaves, etcdV3, etcdGateway, etcdGrpc, remoteServer],
  ...[awsXml, awsIni, gceFailure, gceApi, cloudMetadata, httpResponse],
  ...[savedRules, nftJson, subnetEnv, commandLine, legacyTrace, printableText],
  ...[cniConfig, cniSubnetFile, cniLeases, netavark],
  ...[storeFile, linearTime],
] as unknown as readonly FuzzTarget<unknown>[];

/** @throws {RangeError} when there is none of the name */
export function targetNamed(name: string): FuzzTarget<unknown> {
  const target = TARGETS.find((one) => one.name === name);
  if (target === undefined) throw new RangeError(`no target ${name}`);
  return target;
}
