import { ConfigError } from "../../config/errors.ts";
import type { EtcdOptions } from "./options.ts";

/** PEM texts for TLS connections to the store. */
export interface TlsFiles {
  readonly ca?: string;
  /** Client certificate (chain) and its private key: both or none. */
  readonly client?: { readonly cert: string; readonly key: string };
}

/** Prefix of the flags that name the files: of etcd, and of a `-listen` server. */
export type TlsFlags = "-etcd" | "-remote";

/** One file as the operator named it. */
interface Named {
  readonly flag: string;
  readonly path: string;
  readonly text: string;
}

/**
 * Reads the files that `-etcd-cafile`, `-etcd-certfile` and `-etcd-keyfile` name, or those of `-remote`.
 *
 * Key and certificate are compared here: Deno 2.4 aborts the process when they do not belong
 * together.
 *
 * @throws {ConfigError} naming flag and path when a file cannot be read, holds something else, or
 * lacks its other half
 */
export async function readTlsFiles(
  options: Pick<EtcdOptions, "caFile" | "certFile" | "keyFile">,
  flags: TlsFlags = "-etcd",
): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all([
    read(`${flags}-cafile`, options.caFile, "CERTIFICATE"),
    read(`${flags}-certfile`, options.certFile, "CERTIFICATE"),
    read(`${flags}-keyfile`, options.keyFile, "PRIVATE KEY"),
  ]);
  if (cert !== undefined && key === undefined) {
    throw new ConfigError(`${cert.flag} ${cert.path} needs its private key: give ${flags}-keyfile`);
  }
  if (key !== undefined && cert === undefined) {
    throw new ConfigError(`${key.flag} ${key.path} needs its certificate: give ${flags}-certfile`);
  }
  if (cert !== undefined && key !== undefined) await checkPair(cert, key);
  // The runtime is to read it in the end; a client made of it needs no connection.
  if (ca !== undefined) parse(ca, () => Deno.createHttpClient({ caCerts: [ca.text] }).close());
  return {
    ...(ca === undefined ? {} : { ca: ca.text }),
    ...(cert === undefined || key === undefined
      ? {}
      : { client: { cert: cert.text, key: key.text } }),
  };
}

async function read(
  flag: string,
  path: string | undefined,
  label: string,
): Promise<Named | undefined> {
  if (path === undefined) return undefined;
  let text;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw new ConfigError(`${flag} ${path}: ${reason(error)}`, { cause: error });
  }
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    throw new ConfigError(`${flag} ${path}: the key is encrypted; give one without a passphrase`);
  }
  // Labels of RFC 7468, and `EC PRIVATE KEY` or `RSA PRIVATE KEY` as openssl writes them.
  if (!new RegExp(`^-----BEGIN (EC |RSA )?${label}-----`, "m").test(text)) {
    throw new ConfigError(`${flag} ${path}: holds no ${label.toLowerCase()} in PEM form`);
  }
  return { flag, path, text };
}

async function checkPair(cert: Named, key: Named): Promise<void> {
  const { createPrivateKey, createPublicKey, X509Certificate } = await import("node:crypto");
  const form = { type: "spki", format: "pem" } as const;
  const certified = parse(cert, () => new X509Certificate(cert.text).publicKey.export(form));
  const held = parse(key, () => createPublicKey(createPrivateKey(key.text)).export(form));
  if (certified !== held) {
    throw new ConfigError(
      `${key.flag} ${key.path} is not the private key of ${cert.flag} ${cert.path}`,
    );
  }
}

function parse<T>({ flag, path }: Named, parser: () => T): T {
  try {
    return parser();
  } catch (error) {
    throw new ConfigError(`${flag} ${path} cannot be used: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  return error instanceof Error ? error.message : String(error);
}
