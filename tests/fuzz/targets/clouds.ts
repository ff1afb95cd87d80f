/** Answers of clouds' services: metadata of AWS and Google, and Google's API. */
import fc from "fast-check";
import { AwsEnvironment } from "../../../backends/aws_vpc/environment.ts";
import { InstanceMetadata } from "../../../backends/aws_vpc/metadata.ts";
import { Compute } from "../../../backends/gce/compute.ts";
import { Gce } from "../../../backends/gce/gce.ts";
import { GceMetadata } from "../../../backends/gce/metadata.ts";
import { ProviderError } from "../../../backends/provider/errors.ts";
import { bytesNear, jsonNear } from "../mutate.ts";
import { BytePeer, httpAnswer } from "../peer.ts";
import { type FuzzTarget, refusingAsync } from "../target.ts";

const LONG_MS = 20_000;

const METADATA = [
  '[{"accessConfigs":[{"type":"ONE_TO_ONE_NAT"}],"ip":"10.0.0.2","mac":"42:01","network":"projects/123/networks/default"}]',
  '{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}',
  '"projects/123/zones/europe-west1-b"',
];
const METADATA_BYTES = METADATA.map((body) => httpAnswer(200, body));

export const cloudMetadata: FuzzTarget<Uint8Array> = {
  name: "cloud_metadata",
  seeds: METADATA_BYTES,
  inputs: fc.oneof(
    bytesNear(METADATA_BYTES),
    jsonNear(METADATA, ["ip", "network", "access_token", "expires_in"])
      .map((body) => httpAnswer(200, body)),
  ),
  start: (stack) => {
    const peer = stack.use(new BytePeer());
    const host = `127.0.0.1:${peer.port}`;
    const variables = { AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${host}` };
    return async (bytes) => {
      peer.answer = () => bytes;
      const signal = AbortSignal.timeout(LONG_MS);
      const google = new GceMetadata({ host });
      await refusingAsync([ProviderError], () => google.machine("10.0.0.2", signal));
      await refusingAsync([ProviderError], () => google.accessToken(signal));
      const amazon = new InstanceMetadata(new AwsEnvironment(variables));
      await refusingAsync([ProviderError], () => amazon.get("instance-id", signal));
    };
  },
};

const NETWORK = "https://www.googleapis.com/compute/v1/projects/p/global/networks/default";
const INSTANCE = "https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/i";
const API = [
  `{"kind":"compute#routeList","items":[{"name":"flannel-10-20-93-0-24","network":"${NETWORK}","destRange":"10.20.93.0/24","priority":1000,"nextHopInstance":"${INSTANCE}","warnings":[{"code":"NEXT_HOP_INSTANCE_NOT_FOUND"}]},{"name":"default-route","network":"${NETWORK}","destRange":"0.0.0.0/0","priority":1000,"nextHopGateway":"x"}]}`,
  '{"kind":"compute#instance","canIpForward":true}',
  '{"name":"operation-1","status":"DONE","httpErrorStatusCode":403,"error":{"errors":[{"code":"QUOTA","message":"no"}]}}',
  '{"error":{"code":403,"message":"Required permission","errors":[{"reason":"forbidden"}]}}',
];

export const gceApi: FuzzTarget<{ readonly status: number; readonly body: string }> = {
  name: "gce_api",
  seeds: [
    ...API,
    "null",
    '{"items":{}}',
    '{"items":[null]}',
    '{"items":[{"name":"n","network":7,"destRange":"10.20.93.0/24","priority":1000}]}',
  ].map((body) => ({ status: 200, body })),
  inputs: fc.record({
    status: fc.constantFrom(200, 200, 200, 403, 404, 500),
    body: jsonNear(API, [
      "items",
      "name",
      "network",
      "destRange",
      "priority",
      "warnings",
      "status",
    ]),
  }),
  start: (stack) => {
    const peer = stack.use(new BytePeer());
    const name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE";
    Deno.env.set(name, `http://127.0.0.1:${peer.port}/`);
    stack.defer(() => Deno.env.delete(name));
    const machine = { project: "p", zone: "z", name: "i", network: "default", account: "a" };
    const metadata = { accessToken: () => Promise.resolve("t"), forgetToken: () => {} };
    return async ({ status, body }) => {
      // A page that names a next one is followed by the last.
      let isFirst = true;
      peer.answer = () => {
        const answer = httpAnswer(isFirst ? status : 200, isFirst ? body : API[0]!);
        isFirst = false;
        return answer;
      };
      const compute = new Compute({ metadata, project: "p", account: "a" });
      const signal = AbortSignal.timeout(LONG_MS);
      await refusingAsync([ProviderError], () => new Gce(machine, compute).survey(signal));
      isFirst = true;
      await refusingAsync([ProviderError], () => compute.getInstance("z", "i", signal));
    };
  },
};
