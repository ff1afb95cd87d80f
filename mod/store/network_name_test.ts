import { assertEquals } from "@std/assert";
import { isNetworkName } from "./network_name.ts";

Deno.test("isNetworkName() takes what can be a file's name, and nothing that leads elsewhere", () => {
  for (const name of ["blue", "net-1", "a.b", "_", "x_y~z", "A".repeat(200)]) {
    assertEquals(isNetworkName(name), true, name);
  }
  for (const name of ["", ".", "..", ".x", "a/b", "a b", "a\n", "é", "A".repeat(201)]) {
    assertEquals(isNetworkName(name), false, name);
  }
});
