import { Buffer } from "node:buffer";
import type {
  IRangeRequest,
  IRangeResponse,
  ITxnRequest,
  ITxnResponse,
  IWatchResponse,
} from "etcd3";
import { StoreError } from "../../errors.ts";
import type { Calls } from "./endpoint.ts";

/**
 * Refuses an answer that lacks what each of etcd's has. The library reads whatever protobuf allows, in which every
 * member may be missing: of an empty message it makes members that are `null`.
 *
 * @param url of the endpoint, for the message
 * @throws {StoreError} naming what is missing
 */
export function requireCompleteAnswer<M extends keyof Calls>(
  url: string,
  method: M,
  request: Calls[M][0],
  answer: Calls[M][1],
): void {
  const problem = (answer.header as unknown) === null
    ? "has no header"
    : method === "range"
    ? rangeProblem(request as IRangeRequest, answer as IRangeResponse)
    : method === "txn"
    ? transactionProblem(request as ITxnRequest, answer as ITxnResponse)
    : undefined;
  if (problem !== undefined) throw notOfEtcd(url, `answer to ${method}`, problem);
}

/**
 * Refuses a response of a watch likewise.
 *
 * @throws {StoreError} naming what is missing
 */
export function requireCompleteEvents(url: string, { header, events }: IWatchResponse): void {
  if ((header as unknown) === null) throw notOfEtcd(url, "watch", "has no header");
  if (events.some(({ kv }) => (kv as unknown) === null)) {
    throw notOfEtcd(url, "watch", "has an event without a key");
  }
}

function notOfEtcd(url: string, what: string, problem: string): StoreError {
  return new StoreError(`${url}: the ${what} ${problem}; is it etcd?`);
}

/** Pages are asked for from the last key on: keys outside of what was asked for would have no end. */
function rangeProblem({ key, range_end }: IRangeRequest, answer: IRangeResponse) {
  const [first, last] = [answer.kvs[0]?.key, answer.kvs.at(-1)?.key];
  if (first === undefined || last === undefined) {
    return answer.more ? "promises more entries and has none" : undefined;
  }
  const isBefore = Buffer.compare(first, bytesOf(key)) < 0 || Buffer.compare(last, first) < 0;
  const isBehind = range_end !== undefined && Buffer.compare(last, bytesOf(range_end)) >= 0;
  return isBefore || isBehind ? "has keys that were not asked for" : undefined;
}

function bytesOf(key: Buffer | string | undefined): Buffer {
  return Buffer.from(key ?? "");
}

/** Each operation that was carried out has a response of its kind. */
function transactionProblem({ success, failure }: ITxnRequest, answer: ITxnResponse) {
  const isAnswered = ((answer.succeeded ? success : failure) ?? []).every((operation, i) => {
    const response = answer.responses[i];
    return operation.request_put !== undefined
      ? response?.response_put
      : operation.request_delete_range !== undefined
      ? response?.response_delete_range
      : response?.response_range;
  });
  return isAnswered ? undefined : "lacks the response to an operation";
}
