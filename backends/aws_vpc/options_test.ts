import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError, GoObject } from "../../mod/config/mod.ts";
import { awsVpcOptions } from "./options.ts";

const read = (text: string) => awsVpcOptions(GoObject.parse(text)).routeTableIds;

Deno.test("awsVpcOptions() takes one route table, a list, or none", () => {
  assertEquals(read('{"Type": "aws-vpc"}'), []);
  assertEquals(read('{"RouteTableID": ""}'), []);
  assertEquals(read('{"routetableid": "rtb-0a1b2c3d"}'), ["rtb-0a1b2c3d"]);
  assertEquals(
    read('{"RouteTableID": ["rtb-0a1b2c3d", "rtb-0a1b2c3d4e5f60718", "rtb-0a1b2c3d"]}'),
    ["rtb-0a1b2c3d", "rtb-0a1b2c3d4e5f60718"],
  );
});

Deno.test("awsVpcOptions() refuses what is no route table's id, naming key and value", () => {
  for (
    const [value, words] of [
      ['"main"', 'RouteTableID must be the id of a route table such as rtb-.*not "main"'],
      ['"subnet-0a1b2c3d"', 'not "subnet-0a1b2c3d"'],
      ["7", "RouteTableID must be a string or a list of strings, not 7"],
      ['["rtb-0a1b2c3d", null]', "not null"],
    ]
  ) {
    const error = assertThrows(() => read(`{"RouteTableID": ${value}}`), ConfigError);
    assertEquals(new RegExp(words!).test(error.message), true, error.message);
  }
});
