/**
 * AWS Signature Version 4: signs a request with a key that stays here. Written after "Create a signed
 * AWS API request" of the IAM User Guide, and held to AWS's published test suite.
 *
 * @module
 */

/** Credentials for signatures. Only the key's id may be shown. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When they run out, in milliseconds since the epoch; absent for those that do not. */
  readonly expires?: number;
}

/** A request to be signed. */
export interface SignableRequest {
  readonly method: string;
  readonly url: URL;
  /** By name, whatever its case; all of them are signed. `host` and the date are added. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** For what a request is signed. */
export interface SigningScope {
  /** `eu-west-1` */
  readonly region: string;
  /** `ec2` */
  readonly service: string;
  readonly time: Date;
}

const ALGORITHM = "AWS4-HMAC-SHA256";

/**
 * Signs a request.
 *
 * @returns the headers to send, those given included; without `host`, which `fetch` sets
 */
export async function signRequest(
  { method, url, headers, body }: SignableRequest,
  credentials: AwsCredentials,
  { region, service, time }: SigningScope,
): Promise<Record<string, string>> {
  // 2015-08-30T12:36:00.000Z to 20150830T123600Z
  const date = time.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const sent: Record<string, string> = {
    ...headers,
    "x-amz-date": date,
    ...(credentials.sessionToken === undefined
      ? {}
      : { "x-amz-security-token": credentials.sessionToken }),
  };
  const signed = Object.entries({ ...sent, host: url.host })
    .map(([name, value]) => [name.toLowerCase(), value.trim().replace(/ +/g, " ")] as const)
    .sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0);
  const names = signed.map(([name]) => name).join(";");
  const canonicalRequest = [
    method,
    canonicalPath(url),
    canonicalQuery(url),
    ...signed.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    hex(await sha256(body)),
  ].join("\n");

  const scope = `${date.slice(0, 8)}/${region}/${service}/aws4_request`;
  const toSign = [ALGORITHM, date, scope, hex(await sha256(canonicalRequest))].join("\n");
  let key: BufferSource = encode(`AWS4${credentials.secretAccessKey}`);
  for (const part of scope.split("/")) key = await hmac(key, part);
  const signature = hex(await hmac(key, toSign));
  sent.authorization = `${ALGORITHM} Credential=${credentials.accessKeyId}/${scope}, ` +
    `SignedHeaders=${names}, Signature=${signature}`;
  return sent;
}

/** Every service but S3 has each segment encoded twice; the URL has done it once. */
function canonicalPath({ pathname }: URL): string {
  return pathname.split("/").map(percentEncode).join("/");
}

function canonicalQuery({ searchParams }: URL): string {
  return [...searchParams]
    .map(([name, value]) => `${percentEncode(name)}=${percentEncode(value)}`)
    .sort((a, b) => a < b ? -1 : a > b ? 1 : 0)
    .join("&");
}

/** RFC 3986: all but the unreserved characters. */
export function percentEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

async function sha256(text: string): Promise<ArrayBuffer> {
  return await crypto.subtle.digest("SHA-256", encode(text));
}

async function hmac(key: BufferSource, text: string): Promise<ArrayBuffer> {
  const imported = await crypto.subtle.importKey(
    "raw",
    key,
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  return await crypto.subtle.sign("HMAC", imported, encode(text));
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function hex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
