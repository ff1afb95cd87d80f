import { type FakeInstance, PROJECT, ZONE } from "./gce_fake.ts";
import { serve, type ServePlace } from "./serve.ts";

/** Options of {@linkcode GceMetadataFake}. */
export interface GceMetadataFakeOptions extends ServePlace {
  readonly instance: FakeInstance;
  /** Called with each issued access token. */
  readonly onToken: (token: string) => void;
}

/** The metadata server of one instance, after "About VM metadata" of Compute Engine's documentation. */
export class GceMetadataFake implements AsyncDisposable {
  /** `127.0.0.1:41234` */
  readonly host: string;
  /** All tokens that were given. */
  readonly tokens: string[] = [];
  /** Seconds that a token is good for. */
  lifetime = 3599;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #options: GceMetadataFakeOptions;

  constructor(options: GceMetadataFakeOptions) {
    this.#options = options;
    this.#server = serve((request) => this.#answer(request), options);
    const { hostname, port } = this.#server.addr;
    this.host = `${hostname}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  #answer(request: Request): Response {
    if (request.headers.get("metadata-flavor") !== "Google") {
      return new Response("Missing Metadata-Flavor:Google header.", { status: 403 });
    }
    const { pathname, search } = new URL(request.url);
    const { instance: { name, ip, network } } = this.#options;
    const headers = { "Metadata-Flavor": "Google" };
    const item = {
      "project/project-id": PROJECT,
      "instance/name": name,
      "instance/zone": `projects/123456789/zones/${ZONE}`,
      "instance/network-interfaces/?recursive=true": JSON.stringify([
        { ip: "10.9.9.9", network: "projects/123456789/networks/management", mtu: 1460 },
        { ip, network: `projects/123456789/networks/${network}`, mtu: 1460 },
      ]),
      "instance/service-accounts/default/email": `flannel@${PROJECT}.iam.gserviceaccount.com`,
      "instance/service-accounts/default/token": this.#token(pathname),
    }[pathname.replace("/computeMetadata/v1/", "") + search];
    if (item === undefined) return new Response("Not Found", { status: 404, headers });
    return new Response(item, { headers });
  }

  #token(pathname: string): string {
    if (!pathname.endsWith("/token")) return "";
    const token = `ya29.${crypto.randomUUID()}`;
    this.tokens.push(token);
    this.#options.onToken(token);
    return JSON.stringify({
      ...{ access_token: token, expires_in: this.lifetime, token_type: "Bearer" },
    });
  }
}
