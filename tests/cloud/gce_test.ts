import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ProviderError } from "../../backends/provider/errors.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { GceLab } from "./gce_lab.ts";
import { type CloudSubject, cloudTest, own, providerCases } from "./provider_cases.ts";

const GCE: CloudSubject = {
  type: "gce",
  start: () => Promise.resolve(new GceLab()),
  denied: new RegExp(
    "compute\\.routes\\.insert on projects/sample-project/global/routes/flannel-10-20-1-0-24 is not " +
      "allowed to flannel@sample-project\\.iam\\.gserviceaccount\\.com: .*'compute\\.routes\\.create'",
  ),
  calls: {
    first: ["routes.insert"],
    replace: ["routes.delete", "routes.insert"],
    remove: ["routes.delete"],
  },
};

providerCases(GCE);

cloudTest(GCE, "sync() inserts the Route resource that flannel would", async (context) => {
  const { lab, host, prepare } = context;
  await (await prepare(host)).sync(own("10.20.93.0/24"), new LeaseSet());
  const { kind: _kind, id: _id, selfLink: _self, ...route } = (lab as GceLab).gce.routes.get(
    "flannel-10-20-93-0-24",
  )!;
  const base = "https://www.googleapis.com/compute/v1/projects/sample-project";
  assertEquals(route, {
    name: "flannel-10-20-93-0-24",
    network: `${base}/global/networks/default`,
    destRange: "10.20.93.0/24",
    priority: 1000,
    nextHopInstance: `${base}/zones/europe-west1-b/instances/host100`,
  });
});

cloudTest(
  GCE,
  "sync() names a quota that is used up, and an instance that may not forward",
  async (context) => {
    const { host, log, prepare } = context;
    const { gce } = context.lab as GceLab;
    gce.quota = 0;
    gce.instances.get("host100")!.canIpForward = false;
    assertEquals(await (await prepare(host)).sync(own(), new LeaseSet()), 0);
    const text = log.join("\n");
    assertMatch(text, /W instance host100 has canIpForward off, .*--can-ip-forward/);
    assertMatch(
      text,
      /routes\.insert on .* exceeds a quota of the project: QUOTA_EXCEEDED \(Quota 'ROUTES'/,
    );
  },
);

cloudTest(
  GCE,
  "sync() gives up on an operation that does not end, and tries again later",
  async (context) => {
    const { host, lab, log } = context;
    const { gce } = lab as GceLab;
    const { GceMetadata } = await import("../../backends/gce/metadata.ts");
    const { Compute } = await import("../../backends/gce/compute.ts");
    const metadata = new GceMetadata({ host: host.env.GCE_METADATA_HOST! });
    gce.slowness = Infinity;
    Deno.env.set("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", gce.endpoint);
    try {
      const compute = new Compute({ metadata, project: "sample-project", account: "flannel" });
      const route = { name: "r", network: "n", destRange: "10.20.1.0/24", priority: 1000 };
      const error = await assertRejects(() => compute.insertRoute(route, AbortSignal.timeout(700)));
      assertEquals((error as DOMException).name, "TimeoutError");
      assertEquals(log.length, 0);
    } finally {
      Deno.env.delete("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE");
    }
  },
);

cloudTest(
  GCE,
  "sync() asks for another token when one is refused",
  async ({ host, lab, prepare }) => {
    const { gce, metadata } = lab as GceLab;
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    gce.tokens.clear();
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(network.status().failure, undefined);
    assertEquals(metadata.get("host100")!.tokens.length, 2);
  },
);

cloudTest(GCE, "sync() reads every page, other networks left alone", async (context) => {
  const { host, other, lab, prepare } = context;
  const { gce } = lab as GceLab;
  gce.pageSize = 2;
  for (let i = 0; i < 5; i++) {
    const destRange = `10.20.${100 + i}.0/24`;
    const name = `flannel-${destRange.replaceAll(/[./]/g, "-")}`;
    gce.put({ name, destRange, instance: host.name, network: i === 4 ? "another" : "default" });
  }
  await (await prepare(host)).sync(own(), new LeaseSet());
  assertEquals(await lab.routes(), ["10.20.1.0/24 host100", "10.20.104.0/24 host100"]);
  // Its name is in use in the other network: reports that, and does not remove that network's route.
  await (await prepare(other)).sync(own("10.20.104.0/24"), new LeaseSet());
  assertMatch(context.log.join("\n"), /a project has each name once/);
});

cloudTest(
  GCE,
  "sync() names a route of another owner that may win over flanneld's",
  async (context) => {
    const { host, other, lab, log, prepare } = context;
    const { gce } = lab as GceLab;
    gce.put({ name: "by-hand", destRange: "10.20.1.0/24", instance: other.name, priority: 900 });
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    await network.sync(own(), new LeaseSet());
    assertMatch(log.join("\n"), /route by-hand leads 10\.20\.1\.0\/24 elsewhere, too/);
  },
);

cloudTest(
  GCE,
  "prepare() refuses a host that is no instance, or has another address",
  async (context) => {
    const { host, prepare } = context;
    const elsewhere = { ...host, address: "172.28.128.77" };
    const error = await assertRejects(() => prepare(elsewhere), ProviderError);
    assertMatch(error.message, /no interface with address 172\.28\.128\.77, only 10\.9\.9\.9, 172/);
  },
);
