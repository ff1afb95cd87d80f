import { assertEquals, assertRejects } from "@std/assert";
import { BackendLab } from "../../backends/backend_lab.ts";
import { HostClaims } from "../../mod/agent/host_claims.ts";
import { Known } from "../../mod/agent/known.ts";
import { LeaseKeeper } from "../../mod/agent/lease_keeper.ts";
import { Overlay } from "../../mod/agent/overlay.ts";
import type { Publisher } from "../../mod/agent/publisher.ts";
import { Repairs } from "../../mod/agent/repairs.ts";
import { Vitals } from "../../mod/agent/status_vitals.ts";
import { captureLog } from "../../mod/observe/log_lab.ts";
import { openEmbedded } from "../../mod/store/embedded.ts";
import { record } from "../../mod/store/store_lab.ts";
import { config } from "../../mod/subnet/subnet_lab.ts";

Deno.test("Overlay.bringUp() watches over the new network though the former could not be removed", async () => {
  using _log = captureLog();
  await using lab = await BackendLab.make();
  const { external, netlink } = lab.host;
  const directory = await Deno.makeTempDir({ prefix: "overlay-" });
  const { signal } = new AbortController();
  try {
    await using store = await openEmbedded({ kind: "embedded", path: `${directory}/db` }, {
      owner: true,
    });
    using keeper = new LeaseKeeper({
      ...{ store, renewMargin: 3600, onDue: () => {}, signal },
      record: record("host100", crypto.randomUUID()),
    });
    using repairs = new Repairs(() => {});
    await using claims = new HostClaims({
      ...{ holder: "the test", subnetFile: `${directory}/subnet.env` },
      directory: `${directory}/agents`,
    });
    // What the rest of the host is told is none of this.
    const publisher = {
      published: {},
      requireTools: () => Promise.resolve(),
      publish: () => Promise.resolve(),
    } as unknown as Publisher;
    await using overlay = new Overlay({
      ...{ store, netlink, keeper, publisher, repairs, claims, signal },
      options: { ipMasq: false, udp: {}, vxlan: {}, subnetFile: `${directory}/subnet.env` },
      known: new Known(),
      vitals: new Vitals(),
      formerNetwork: undefined,
      onFailed: (error) => {
        throw error;
      },
    });
    const of = (Type: string) => config({ Network: "10.20.0.0/16", Backend: { Type } });
    await overlay.bringUp(await of("vxlan"), external);
    const former = overlay.active!.network;
    let watched = 0;
    former.remove = () => {
      overlay.active!.network.run = () => Promise.resolve(void watched++);
      return Promise.reject(new Error("RTM_DELLINK flannel.1: EBUSY"));
    };
    await assertRejects(async () => await overlay.bringUp(await of("host-gw"), external), Error);
    assertEquals([overlay.active?.config.backend.type, watched], ["host-gw", 1]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
