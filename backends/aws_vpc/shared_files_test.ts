import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../mod/text/testing/character.ts";
import { AwsEnvironment } from "./environment.ts";
import { parseIni, readSharedProfile } from "./shared_files.ts";

Deno.test("parseIni() reads sections as the AWS command line does", () => {
  const sections = parseIni(`\ufeff# a comment
aws_access_key_id = before any section
[default]
AWS_Access_Key_ID=AKIA1
aws_secret_access_key = a/b+c=d # comment
s3 =
    region = elsewhere
; another
[ profile  two ]\r
region = eu-west-1\r
[default]
region=eu-north-1
nonsense
`);
  assertEquals([...sections.keys()], ["default", "profile two"]);
  assertEquals(Object.fromEntries(sections.get("default")!), {
    aws_access_key_id: "AKIA1",
    aws_secret_access_key: "a/b+c=d",
    s3: "",
    region: "eu-north-1",
  });
  assertEquals(sections.get("profile two")!.get("region"), "eu-west-1");
});

Deno.test("parseIni() never fails", () => {
  fc.assert(fc.property(fc.string({ unit: CHARACTER }), (text) => void parseIni(text)));
});

Deno.test("readSharedProfile() joins both files, and the credentials file wins", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/.aws`);
    await Deno.writeTextFile(`${dir}/.aws/credentials`, "[default]\nregion=a\n[two]\nx=1\n");
    await Deno.writeTextFile(
      `${dir}/.aws/config`,
      "[default]\nregion=b\ny=2\n[profile two]\nz=3\n",
    );
    const read = async (env: Record<string, string>) => {
      const { values, isNamed } = await readSharedProfile(new AwsEnvironment(env));
      return [isNamed, values && Object.fromEntries(values)];
    };
    assertEquals(await read({ HOME: dir }), [false, { region: "a", y: "2" }]);
    assertEquals(await read({ HOME: dir, AWS_PROFILE: "two" }), [true, { x: "1", z: "3" }]);
    assertEquals(await read({ HOME: dir, AWS_PROFILE: "no" }), [true, undefined]);
    assertEquals(await read({ HOME: `${dir}/no` }), [false, undefined]);
    assertEquals(await read({}), [false, undefined]);
    assertEquals(
      await read({ AWS_SHARED_CREDENTIALS_FILE: `${dir}/.aws/config`, AWS_PROFILE: "default" }),
      [true, { region: "b", y: "2" }],
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
