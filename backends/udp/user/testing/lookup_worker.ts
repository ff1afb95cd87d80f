// The reader of the test "PeerLookup never mixes two peers": looks up addresses until the stop flag is set.
import { PeerLookup, type SharedPeerTable } from "../peer_lookup.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<{ table: SharedPeerTable; progress: Int32Array }>) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data: { table, progress } }) => {
  const lookup = new PeerLookup(table);
  scope.postMessage("started");
  let lookups = 0, found = 0, mixed = 0;
  while (!lookup.stopped) {
    for (let i = 0; i < 8; i++) {
      for (const host of [1, 129]) {
        const publicIP = lookup.route(0x0a280000 + i * 256 + host);
        lookups++;
        if (publicIP === 0) continue;
        found++;
        if ((publicIP & 0xff) !== i || publicIP < 0x64000000) mixed++;
      }
    }
    Atomics.store(progress, 0, found);
  }
  scope.postMessage({ lookups, found, mixed });
};
