import { assertEquals, assertRejects } from "@std/assert";
import { makeCertificates } from "../../../tests/lab/certificates.ts";
import { ConfigError } from "../../config/errors.ts";
import { readTlsFiles } from "./tls_files.ts";

Deno.test("readTlsFiles()", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "certificates-" });
  try {
    const { ca, server, client } = await makeCertificates(directory);
    const text = (path: string) => Deno.readTextFile(path);
    const refuses = async (options: Parameters<typeof readTlsFiles>[0], message: string) => {
      const error = await assertRejects(() => readTlsFiles(options), ConfigError);
      assertEquals(error.message, message);
    };

    await t.step("reads nothing, a CA, or a CA with certificate and key", async () => {
      assertEquals(await readTlsFiles({}), {});
      assertEquals(await readTlsFiles({ caFile: ca }), { ca: await text(ca) });
      const pair = { cert: await text(client.cert), key: await text(client.key) };
      assertEquals(
        await readTlsFiles({ caFile: ca, certFile: client.cert, keyFile: client.key }),
        { ca: await text(ca), client: pair },
      );
      assertEquals(await readTlsFiles({ certFile: client.cert, keyFile: client.key }), {
        client: pair,
      });
    });

    await t.step("names flag and path of a file that cannot be read", async () => {
      await refuses({ caFile: "/nowhere/ca.pem" }, "-etcd-cafile /nowhere/ca.pem: no such file");
      await refuses(
        { certFile: client.cert, keyFile: "/nowhere/key.pem" },
        "-etcd-keyfile /nowhere/key.pem: no such file",
      );
    });

    await t.step("names flag and path of a file that holds something else", async () => {
      await refuses(
        { caFile: client.key },
        `-etcd-cafile ${client.key}: holds no certificate in PEM form`,
      );
      await refuses(
        { certFile: client.cert, keyFile: client.cert },
        `-etcd-keyfile ${client.cert}: holds no private key in PEM form`,
      );
    });

    await t.step("asks for the other half of a pair", async () => {
      await refuses(
        { certFile: client.cert },
        `-etcd-certfile ${client.cert} needs its private key: give -etcd-keyfile`,
      );
      await refuses(
        { keyFile: client.key },
        `-etcd-keyfile ${client.key} needs its certificate: give -etcd-certfile`,
      );
    });

    await t.step("refuses a key that belongs to another certificate", async () => {
      await refuses(
        { certFile: client.cert, keyFile: server.key },
        `-etcd-keyfile ${server.key} is not the private key of -etcd-certfile ${client.cert}`,
      );
    });

    await t.step("refuses an encrypted key", async () => {
      const path = `${directory}/encrypted.pem`;
      await Deno.writeTextFile(
        path,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
      );
      await refuses(
        { certFile: client.cert, keyFile: path },
        `-etcd-keyfile ${path}: the key is encrypted; give one without a passphrase`,
      );
    });

    await t.step("names the file when its content is damaged", async () => {
      const path = `${directory}/damaged.pem`;
      await Deno.writeTextFile(
        path,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
      );
      for (
        const options of [
          { caFile: path },
          { certFile: path, keyFile: client.key },
        ]
      ) {
        const { message } = await assertRejects(() => readTlsFiles(options), ConfigError);
        assertEquals(message.includes(path), true, message);
      }
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
