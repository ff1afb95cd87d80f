/**
 * Throw-away certificates for tests, made with the openssl command line.
 *
 * @module
 */

/** Paths of PEM files, all in one directory. */
export interface Certificates {
  readonly directory: string;
  /** CA that signed `server` and `client`. */
  readonly ca: string;
  /** Another CA, which signed nothing. */
  readonly otherCa: string;
  /** For 127.0.0.1 and localhost. */
  readonly server: CertifiedKey;
  readonly client: CertifiedKey;
}

/** Paths of a certificate and its private key. */
export interface CertifiedKey {
  readonly cert: string;
  readonly key: string;
}

/** Without it openssl would add the extensions of the machine's own configuration. */
const CONFIG = "[req]\ndistinguished_name=name\n[name]\n";

/**
 * Makes a CA, a server's and a client's certificate, valid for a day.
 *
 * @param addresses IP addresses of the server besides 127.0.0.1
 * @param names of the server besides localhost
 */
export async function makeCertificates(
  directory: string,
  addresses: readonly string[] = [],
  names: readonly string[] = [],
): Promise<Certificates> {
  const path = (name: string) => `${directory}/${name}`;
  await Deno.writeTextFile(path("openssl.cnf"), CONFIG);

  const make = async (name: string, extensions: string[], signer?: string) => {
    const pair = { cert: path(`${name}.pem`), key: path(`${name}-key.pem`) };
    await openssl(
      ...["req", "-x509", "-config", path("openssl.cnf"), "-days", "1", "-nodes"],
      ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
      ...["-subj", `/CN=${name}`, "-out", pair.cert, "-keyout", pair.key],
      ...extensions.flatMap((extension) => ["-addext", extension]),
      ...(signer === undefined
        ? []
        : ["-CA", path(`${signer}.pem`), "-CAkey", path(`${signer}-key.pem`)]),
    );
    return pair;
  };
  const authority = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"];
  const leaf = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"];
  const ca = await make("ca", authority);
  const otherCa = await make("other-ca", authority);
  const server = await make("server", [
    ...leaf,
    "extendedKeyUsage=serverAuth,clientAuth",
    `subjectAltName=${[
      ...["127.0.0.1", ...addresses].map((ip) => `IP:${ip}`),
      ...["localhost", ...names].map((name) => `DNS:${name}`),
    ]}`,
  ], "ca");
  const client = await make("client", [...leaf, "extendedKeyUsage=clientAuth"], "ca");
  return { directory, ca: ca.cert, otherCa: otherCa.cert, server, client };
}

async function openssl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args }).output();
  if (!success) {
    throw new Error(`openssl ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}
