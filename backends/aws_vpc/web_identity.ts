import { ProviderError } from "../provider/errors.ts";
import type { AwsCredentials } from "./sigv4.ts";
import type { AwsEnvironment } from "./environment.ts";
import { sendQuery } from "./query_api.ts";

/** Options of {@linkcode assumeRoleWithWebIdentity}. */
export interface WebIdentityOptions {
  readonly roleArn: string;
  /** File with the token that an identity provider (Kubernetes, for one) gave this process. */
  readonly tokenFile: string;
  readonly region: string;
  readonly signal: AbortSignal;
}

/**
 * Asks STS for a role's credentials with a web identity token. The token is the only proof, so the
 * request is not signed.
 *
 * @throws {ProviderError} when the token cannot be read, or STS refuses
 */
export async function assumeRoleWithWebIdentity(
  env: AwsEnvironment,
  { roleArn, tokenFile, region, signal }: WebIdentityOptions,
): Promise<AwsCredentials> {
  let token: string;
  try {
    token = (await Deno.readTextFile(tokenFile)).trim();
  } catch (cause) {
    throw new ProviderError(
      "unsuitable",
      `the web identity token cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
  const url = env.endpoint("sts", region);
  if (url === undefined) {
    throw new ProviderError("unsuitable", "AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL is not a URL");
  }
  const root = await sendQuery({
    url,
    headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
    body: new URLSearchParams({
      Action: "AssumeRoleWithWebIdentity",
      Version: "2011-06-15", // of the STS API
      RoleArn: roleArn,
      RoleSessionName: env.get("AWS_ROLE_SESSION_NAME") ?? `flanneld-${Deno.pid}`,
      WebIdentityToken: token,
    }).toString(),
    what: `sts:AssumeRoleWithWebIdentity of ${roleArn}`,
    signal,
  });
  const found = root.find("AssumeRoleWithWebIdentityResult", "Credentials");
  const accessKeyId = found?.value("AccessKeyId");
  const secretAccessKey = found?.value("SecretAccessKey");
  const sessionToken = found?.value("SessionToken");
  const expires = Date.parse(found?.value("Expiration") ?? "");
  if (!accessKeyId || !secretAccessKey || !sessionToken || Number.isNaN(expires)) {
    throw new ProviderError("unavailable", `the answer of ${url.host} holds no credentials`);
  }
  return { accessKeyId, secretAccessKey, sessionToken, expires };
}
