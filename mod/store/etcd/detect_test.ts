import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  AmbiguousConfigError,
  type Candidate,
  detectApi,
  type Detection,
  type Finding,
} from "./detect.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";

const PREFIX = "/flannel/network";
const V2_WORDS = "100: Key not found (/flannel) [97]";
const V3_WORDS = `etcd v3, ${PREFIX}/config: no such key`;

const config = (text = '{"Network":"10.20.0.0/16"}'): Finding => ({ type: "config", text });
const absent: Finding = { type: "absent", why: "HTTP status 502" };
const plainlyAbsent: Finding = { type: "absent", why: "HTTP status 404", isPlain: true };
const refused: Finding = { type: "refused", error: new StoreError("asks for a user") };
const missing = {
  v2: { type: "missing", words: V2_WORDS },
  v3: { type: "missing", words: V3_WORDS },
} as const satisfies Record<string, Finding>;

/** A store with given answers. */
function candidate(finding: Finding | StoreUnavailableError, leases = false): Candidate {
  return {
    findConfig: () => finding instanceof Error ? Promise.reject(finding) : Promise.resolve(finding),
    holdsLeases: () => Promise.resolve(leases),
  };
}

function detect(v2: Candidate, v3: Candidate): Promise<Detection> {
  return detectApi({ prefix: PREFIX, v2, v3 });
}

Deno.test("detectApi() takes the store that holds the config and says where the other stands", async () => {
  const table: readonly (readonly [Finding, Finding, "v2" | "v3", string])[] = [
    [config(), missing.v3, "v2", "not in etcd v3"],
    [missing.v2, config(), "v3", "not in etcd v2"],
    [config(), absent, "v2", "no etcd v3 there (HTTP status 502)"],
    [absent, config(), "v3", "no etcd v2 there (HTTP status 502)"],
    [plainlyAbsent, config(), "v3", "it has no v2 API"],
    [config(), refused, "v2", "asks for a user (etcd v3)"],
    [refused, config(), "v3", "asks for a user (etcd v2)"],
  ];
  for (const [v2, v3, api, text] of table) {
    assertEquals(await detect(candidate(v2), candidate(v3)), {
      api,
      note: `Network config found in etcd ${api} (${PREFIX}/config); ${text}`,
    });
  }
});

Deno.test("detectApi() takes of two stores with one config the one that holds leases, else v3", async () => {
  const table = [
    [false, false, "v3", "taking v3"],
    [true, false, "v2", "taking v2, which holds the leases"],
    [false, true, "v3", "taking v3, which holds the leases"],
    [true, true, "v3", "hosts in the one see none in the other"],
  ] as const;
  for (const [old, current, api, text] of table) {
    const detection = await detect(
      candidate(config('{ "Network": "10.20.0.0/16" }\n'), old),
      candidate(config(), current),
    );
    if (!("api" in detection)) throw new Error(detection.waiting);
    assertEquals(detection.api, api);
    assertStringIncludes(detection.note, text);
  }
});

Deno.test("detectApi() does not choose between two configs", async () => {
  for (const other of ['{"Network":"10.30.0.0/16"}', "not JSON"]) {
    const error = await assertRejects(
      () => detect(candidate(config()), candidate(config(other))),
      AmbiguousConfigError,
      `key ${PREFIX}/config of v2 and key ${PREFIX}/config of v3 differ`,
    );
    assertStringIncludes(error.message, "-etcd-api v2 or -etcd-api v3");
  }
});

Deno.test("detectApi() waits where there is no config, in each store's own words, v2's first", async () => {
  assertEquals(await detect(candidate(missing.v2), candidate(missing.v3)), {
    waiting: `${V2_WORDS} (etcd v2); ${V3_WORDS}; ` +
      `write the network config to ${PREFIX}/config of either, or correct -etcd-prefix`,
  });
  const detection = await detect(candidate(absent), candidate(missing.v3));
  if (!("waiting" in detection)) throw new Error(detection.note);
  assertStringIncludes(detection.waiting, "no etcd v2 there (HTTP status 502)");
  assertEquals(await detect(candidate(plainlyAbsent), candidate(missing.v3)), {
    waiting: `${V3_WORDS} (it has no v2 API); ` +
      `write the network config to ${PREFIX}/config, or correct -etcd-prefix`,
  });
});

Deno.test("detectApi() rejects with the refusal when nothing else was found", async () => {
  for (const [v2, v3] of [[missing.v2, refused], [refused, missing.v3], [absent, refused]]) {
    const error = await assertRejects(() => detect(candidate(v2!), candidate(v3!)), StoreError);
    assertStringIncludes(error.message, "asks for a user");
  }
});

Deno.test("detectApi() takes no store while the other does not answer", async () => {
  const down = new StoreUnavailableError("nobody answers");
  for (
    const [v2, v3] of [
      [candidate(config()), candidate(down)],
      [candidate(down), candidate(config())],
      [candidate(down), candidate(down)],
    ]
  ) {
    await assertRejects(() => detect(v2!, v3!), StoreUnavailableError, "nobody answers");
  }
});

Deno.test("detectApi() asks v3 directly where its answer matters and its gateway gives none", async () => {
  const unasked: Finding = { type: "unasked", why: "HTTP status 400" };
  const table: readonly (readonly [Finding, Finding, Finding, "v2" | "v3"])[] = [
    [missing.v2, absent, config(), "v3"],
    [absent, absent, config(), "v3"],
    [missing.v2, unasked, config(), "v3"],
    [config(), unasked, missing.v3, "v2"],
  ];
  for (const [v2, v3, direct, api] of table) {
    const detection = await detectApi({
      prefix: PREFIX,
      v2: candidate(v2),
      v3: candidate(v3),
      v3Directly: () => Promise.resolve(candidate(direct)),
    });
    if (!("api" in detection)) throw new Error(detection.waiting);
    assertEquals(detection.api, api);
  }
  await assertRejects(
    () =>
      detectApi({
        prefix: PREFIX,
        v2: candidate(config()),
        v3: candidate(unasked),
        v3Directly: () => Promise.resolve(candidate(config("{}"))),
      }),
    AmbiguousConfigError,
  );
  const detection = await detectApi({
    prefix: PREFIX,
    v2: candidate(config(), true),
    v3: candidate(unasked, false),
    v3Directly: () => Promise.resolve(candidate(config(), true)),
  });
  if (!("api" in detection)) throw new Error(detection.waiting);
  assertStringIncludes(detection.note, "both hold leases");
  // A server without a gateway that has served v2 is from before v3.
  await detectApi({
    prefix: PREFIX,
    v2: candidate(config()),
    v3: candidate(absent),
    v3Directly: () => Promise.reject(new Error("asked for nothing")),
  });
});

Deno.test("detectApi() distinguishes an etcd from before v3 from a missing one", async () => {
  const down = () => Promise.resolve(candidate(new StoreUnavailableError("nobody answers")));
  const detection = await detectApi({
    prefix: PREFIX,
    v2: candidate(missing.v2),
    v3: candidate(absent),
    v3Directly: down,
  });
  if (!("waiting" in detection)) throw new Error(detection.note);
  assertStringIncludes(detection.waiting, "no etcd v3 there");
  await assertRejects(
    () =>
      detectApi({
        prefix: PREFIX,
        v2: candidate(absent),
        v3: candidate(absent),
        v3Directly: down,
      }),
    StoreUnavailableError,
  );
});

Deno.test("detectApi() says that an etcd without either store is none", async () => {
  await assertRejects(
    () => detect(candidate(absent), candidate(absent)),
    StoreError,
    "correct -etcd-endpoints",
  );
});

Deno.test("detectApi() asks for leases only where the configs alone do not decide", async () => {
  const curious = (finding: Finding): Candidate => ({
    findConfig: () => Promise.resolve(finding),
    holdsLeases: () => {
      throw new Error("asked");
    },
  });
  const detection = await detect(curious(config()), curious(missing.v3));
  assert("api" in detection);
});
