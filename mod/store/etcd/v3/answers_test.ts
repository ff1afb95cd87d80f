import { assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { StoreError } from "../../errors.ts";
import { requireCompleteAnswer, requireCompleteEvents } from "./answers.ts";

const URL = "http://192.0.2.1:2379";
const header = { cluster_id: "1", member_id: "1", revision: "7", raft_term: "1" };
const kv = (key: string) => ({ key: Buffer.from(key) });
const range = (
  answer: object,
  request = { key: Buffer.from("/a/"), range_end: Buffer.from("/a0") },
) =>
  requireCompleteAnswer(
    URL,
    "range",
    request,
    { header, kvs: [], more: false, ...answer } as never,
  );
const put = { request_put: { key: Buffer.from("/a"), value: Buffer.from("") } };
const read = { request_range: { key: Buffer.from("/a") } };
const txn = (answer: object) =>
  requireCompleteAnswer(URL, "txn", { success: [put], failure: [read] }, {
    ...{ header, succeeded: true, responses: [] },
    ...answer,
  } as never);

Deno.test("requireCompleteAnswer() lets etcd's answers pass", () => {
  range({});
  range({ kvs: [kv("/a/"), kv("/a/z")], more: true });
  txn({ responses: [{ response_put: {}, response_range: null }] });
  txn({ succeeded: false, responses: [{ response_put: null, response_range: {} }] });
});

Deno.test("requireCompleteAnswer() refuses answers that lack what etcd's have, or have no end", () => {
  const cases: readonly (readonly [() => void, string])[] = [
    [() => range({ header: null }), "the answer to range has no header"],
    [() => range({ more: true }), "promises more entries and has none"],
    [() => range({ kvs: [kv("/Z")] }), "has keys that were not asked for"],
    [() => range({ kvs: [kv("/a/b"), kv("/a0")] }), "has keys that were not asked for"],
    [() => range({ kvs: [kv("/a/b"), kv("/a/a")] }), "has keys that were not asked for"],
    [() => txn({}), "the answer to txn lacks the response to an operation"],
    [() => txn({ responses: [{ response_put: null, response_range: {} }] }), "lacks the response"],
    [() => txn({ succeeded: false, responses: [{ response_range: null }] }), "lacks the response"],
  ];
  for (const [step, message] of cases) assertThrows(step, StoreError, message);
});

Deno.test("requireCompleteEvents() refuses responses without header, and events without a key", () => {
  requireCompleteEvents(URL, { header, events: [{ kv: kv("/a") }] } as never);
  assertThrows(
    () => requireCompleteEvents(URL, { header: null, events: [] } as never),
    StoreError,
    `${URL}: the watch has no header; is it etcd?`,
  );
  assertThrows(
    () => requireCompleteEvents(URL, { header, events: [{ kv: null }] } as never),
    StoreError,
    "an event without a key",
  );
});
