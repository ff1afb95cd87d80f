import { StoreError } from "../../errors.ts";
import type { CallOptions, Cursor, KeyRange, KvEntry, Listing } from "../../kv/kv.ts";
import type { RemoteHttp } from "../http.ts";
import { decodeAnswer, type PolledRange, type PollResult } from "../session.ts";
import { decodeNetworkWatch, type NetworkWatchAnswer } from "./protocol.ts";
import { askFlannel, pollFlannel } from "./requests.ts";

/** The listing of all networks, which flannel 0.7.1's server and a flanneld serve alike. */
const PATH = "/v1/";

/** The configs of all networks of a server: their keys, without the texts. */
export class FlannelNames implements PolledRange {
  readonly #http: RemoteHttp;

  constructor(http: RemoteHttp) {
    this.#http = http;
  }

  async list(_range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    const { text } = await askFlannel(this.#http, { method: "GET", path: PATH, signal });
    const answer = decodeAnswer(text, decodeNetworkWatch);
    if ("snapshot" in answer) return listing(answer);
    throw new StoreError("the server of -remote lists no networks");
  }

  async poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult> {
    const polled = await pollFlannel(this.#http, PATH, cursor, signal);
    if (polled === undefined) return { changes: [], cursor };
    const answer = decodeAnswer(polled.text, decodeNetworkWatch);
    if ("snapshot" in answer) {
      const reason = "the server does not know what has happened since";
      return { reason, snapshot: listing(answer) };
    }
    return {
      cursor: answer.cursor,
      changes: answer.events.map(({ type, network }) =>
        type === "added"
          ? { type: "put", entry: entryOf(network) }
          : { type: "delete", key: entryOf(network).key, missing: "" }
      ),
    };
  }
}

function listing(
  { snapshot, cursor }: Extract<NetworkWatchAnswer, { snapshot: unknown }>,
): Listing {
  return { entries: snapshot.map(entryOf), cursor, missing: () => "" };
}

function entryOf(network: string): KvEntry {
  return { key: `/${network}/config`, value: "", revision: "" };
}
