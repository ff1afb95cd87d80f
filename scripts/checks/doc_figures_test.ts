import { assert } from "@std/assert";
import { MOST_NETWORKS } from "../../mod/agent/networks/options.ts";
import { LEASE_TTL } from "../../mod/lease/mod.ts";
import { HEALTH_LIMITS } from "../../mod/observe/health.ts";
import { QUERY_LENGTH } from "../../mod/probe/container_query.ts";
import { DEFAULT_LIMITS, POLLS_PER_ADDRESS } from "../../mod/server/server.ts";
import { projectRoot } from "./module_graph.ts";

const grouped = (count: number) => count.toLocaleString("en");

/** Phrases of SECURITY.md with the values of the code. */
const PHRASES = [
  `${HEALTH_LIMITS.connections} connections, ${HEALTH_LIMITS.connectionsPerAddress} of one address`,
  `at most ${
    grouped(DEFAULT_LIMITS.connectionsPerAddress)
  } connections, ${POLLS_PER_ADDRESS} polls ` +
  `and ${DEFAULT_LIMITS.answersPerAddress / 2 ** 20} MiB of answers`,
  `use up the ${grouped(DEFAULT_LIMITS.connections)} connections`,
  `has to end within ${DEFAULT_LIMITS.arrival / 1000} s of the connection`,
  `of an echo reply, ${QUERY_LENGTH} bytes each`,
  `serves ${MOST_NETWORKS} networks at most`,
  `no lifetime of more than ${LEASE_TTL === 86_400 ? "a day" : `${LEASE_TTL} s`}`,
];

Deno.test("SECURITY.md has the limits of the code", async () => {
  const prose = (await Deno.readTextFile(`${projectRoot()}/SECURITY.md`)).replace(/\s+/g, " ");
  for (const phrase of PHRASES) assert(prose.includes(phrase), phrase);
});
