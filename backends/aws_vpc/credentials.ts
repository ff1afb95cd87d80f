import { warning } from "../../mod/observe/mod.ts";
import { ProviderError } from "../provider/errors.ts";
import type { AwsEnvironment } from "./environment.ts";
import type { InstanceMetadata } from "./metadata.ts";
import { readSharedProfile, type SharedProfile } from "./shared_files.ts";
import { assumeRoleWithWebIdentity } from "./web_identity.ts";
import type { AwsCredentials } from "./sigv4.ts";
import { truncate } from "../../mod/text/mod.ts";

/** Credentials, and where they are from. */
export interface FoundCredentials {
  readonly credentials: AwsCredentials;
  /** For messages: `role flannel of the instance`. */
  readonly origin: string;
}

/** How long before they run out others are asked for, in milliseconds. */
const EARLY = 5 * 60_000;

/** Not more often than this, in milliseconds, while old ones still serve. */
const AGAIN = 60_000;

/**
 * The chain that AWS's own SDKs follow: environment, web identity, shared files, instance metadata.
 * The first that has something is taken; what it has wrong is not passed over.
 */
export class CredentialChain {
  readonly #env: AwsEnvironment;
  readonly #metadata: InstanceMetadata;
  readonly #now: () => number;
  #found: FoundCredentials | undefined;
  #notBefore = -Infinity;

  /** @param now milliseconds since the epoch. @default Date.now */
  constructor(env: AwsEnvironment, metadata: InstanceMetadata, now: () => number = Date.now) {
    this.#env = env;
    this.#metadata = metadata;
    this.#now = now;
  }

  /**
   * Credentials that are good for five minutes at least, or, when those cannot be had, still good.
   *
   * @throws {ProviderError} when there are none
   */
  async get(signal: AbortSignal): Promise<FoundCredentials> {
    const found = this.#found;
    const left = (found?.credentials.expires ?? Infinity) - this.#now();
    if (found !== undefined && (left > EARLY || (left > 0 && this.#now() < this.#notBefore))) {
      return found;
    }
    try {
      return this.#found = await this.#find(signal);
    } catch (error) {
      if (!(error instanceof ProviderError) || found === undefined || left <= 0) throw error;
      this.#notBefore = this.#now() + AGAIN;
      warning(
        `The AWS credentials (${found.origin}) run out in ${
          Math.floor(left / 1000)
        } s and cannot be ` +
          `renewed: ${error.message}`,
      );
      return found;
    }
  }

  /** Drops credentials that were refused as expired: the next call requests new ones. */
  forget(): void {
    this.#found = undefined;
  }

  async #find(signal: AbortSignal): Promise<FoundCredentials> {
    return fromEnvironment(this.#env) ??
      await this.#fromWebIdentity(signal) ??
      await this.#fromSharedFiles(signal) ??
      await this.#fromInstance(signal);
  }

  async #fromWebIdentity(signal: AbortSignal): Promise<FoundCredentials | undefined> {
    const tokenFile = this.#env.get("AWS_WEB_IDENTITY_TOKEN_FILE");
    const role = this.#env.get("AWS_ROLE_ARN");
    if (tokenFile === undefined && role === undefined) return undefined;
    if (tokenFile === undefined || role === undefined) {
      throw new ProviderError(
        "unsuitable",
        "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN go together, and only " +
          `${tokenFile === undefined ? "AWS_ROLE_ARN" : "AWS_WEB_IDENTITY_TOKEN_FILE"} is set`,
      );
    }
    return await this.#assume(role, tokenFile, signal);
  }

  async #fromSharedFiles(signal: AbortSignal): Promise<FoundCredentials | undefined> {
    let profile: SharedProfile;
    try {
      profile = await readSharedProfile(this.#env);
    } catch (cause) {
      throw new ProviderError(
        "unsuitable",
        `AWS's shared files cannot be read: ${(cause as Error).message}`,
        { cause },
      );
    }
    const { name, isNamed, paths, values } = profile;
    const accessKeyId = values?.get("aws_access_key_id");
    const secretAccessKey = values?.get("aws_secret_access_key");
    const sessionToken = values?.get("aws_session_token");
    const origin = `profile ${name} of ${paths.join(", ")}`;
    if (accessKeyId !== undefined && secretAccessKey !== undefined) {
      return {
        origin,
        credentials: {
          ...{ accessKeyId, secretAccessKey },
          ...(sessionToken === undefined ? {} : { sessionToken }),
        },
      };
    }
    const role = values?.get("role_arn");
    const tokenFile = values?.get("web_identity_token_file");
    if (role !== undefined && tokenFile !== undefined) {
      return await this.#assume(role, tokenFile, signal);
    }
    const foreign = ["role_arn", "credential_process", "sso_session", "sso_start_url"]
      .find((key) => values?.has(key));
    if (foreign !== undefined) {
      throw new ProviderError(
        "unsuitable",
        `${origin} has ${foreign}, which flanneld does not follow; it takes aws_access_key_id with ` +
          "aws_secret_access_key, or role_arn with web_identity_token_file. On an instance an " +
          "instance profile needs no file at all",
      );
    }
    if (isNamed) {
      throw new ProviderError("unsuitable", `there are no credentials in ${origin}`);
    }
    return undefined;
  }

  async #assume(
    roleArn: string,
    tokenFile: string,
    signal: AbortSignal,
  ): Promise<FoundCredentials> {
    const region = await findRegion(this.#env, this.#metadata, signal);
    return {
      origin: `${roleArn} by ${tokenFile}`,
      credentials: await assumeRoleWithWebIdentity(this.#env, {
        ...{ roleArn, tokenFile, region, signal },
      }),
    };
  }

  async #fromInstance(signal: AbortSignal): Promise<FoundCredentials> {
    const none = "no AWS credentials: neither AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE nor " +
      "the shared files have any, and ";
    if (this.#metadata.isDisabled) {
      throw new ProviderError("denied", `${none}AWS_EC2_METADATA_DISABLED is true`);
    }
    const directory = "iam/security-credentials/";
    const role = (await this.#metadata.get(directory, signal))?.split("\n")[0];
    const text = role && await this.#metadata.get(directory + role, signal);
    if (!role || !text) {
      throw new ProviderError(
        "denied",
        `${none}the instance has no IAM role; give it an instance profile (docs/backends/aws.md has the role)`,
      );
    }
    return {
      origin: `role ${role} of the instance`,
      credentials: parseInstanceCredentials(text, role),
    };
  }
}

function fromEnvironment(env: AwsEnvironment): FoundCredentials | undefined {
  const accessKeyId = env.get("AWS_ACCESS_KEY_ID");
  const secretAccessKey = env.get("AWS_SECRET_ACCESS_KEY");
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new ProviderError(
      "unsuitable",
      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and only " +
        `${accessKeyId === undefined ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"} is set`,
    );
  }
  const sessionToken = env.get("AWS_SESSION_TOKEN");
  return {
    origin: `AWS_ACCESS_KEY_ID ${accessKeyId}`,
    credentials: {
      ...{ accessKeyId, secretAccessKey },
      ...(sessionToken === undefined ? {} : { sessionToken }),
    },
  };
}

/** The JSON of `iam/security-credentials/ROLE`. Of its values no message may show any. */
function parseInstanceCredentials(text: string, role: string): AwsCredentials {
  let value: Readonly<Record<string, unknown>> | null;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProviderError("unavailable", `the credentials of role ${role} are not JSON`);
  }
  const { Code, AccessKeyId, SecretAccessKey, Token, Expiration } = value ?? {};
  if (Code !== undefined && Code !== "Success") {
    throw new ProviderError(
      "denied",
      `the instance gets no credentials of role ${role}: ${
        truncate(String(Code), 100)
      } (a role that ` +
        "was deleted, or does not trust ec2.amazonaws.com)",
    );
  }
  const expires = Date.parse(String(Expiration));
  if (
    typeof AccessKeyId !== "string" || typeof SecretAccessKey !== "string" ||
    typeof Token !== "string" || Number.isNaN(expires)
  ) throw new ProviderError("unavailable", `the credentials of role ${role} are not complete`);
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: Token,
    expires,
  };
}

/**
 * Returns the region of the environment or the shared files, else that of the instance.
 *
 * @throws {ProviderError} when the region is unknown
 */
export async function findRegion(
  env: AwsEnvironment,
  metadata: InstanceMetadata,
  signal: AbortSignal,
): Promise<string> {
  const named = env.get("AWS_REGION", "AWS_DEFAULT_REGION") ??
    (await readSharedProfile(env).catch(() => undefined))?.values?.get("region");
  const region = named ?? await metadata.get("placement/region", signal);
  if (region === undefined) {
    throw new ProviderError("unsuitable", "the region is unknown; set AWS_REGION");
  }
  // It becomes part of a host name.
  if (!/^[a-z0-9-]{1,40}$/.test(region)) {
    throw new ProviderError(
      "unsuitable",
      `AWS_REGION must be a region such as eu-west-1, not ${JSON.stringify(truncate(region, 60))}`,
    );
  }
  return region;
}
