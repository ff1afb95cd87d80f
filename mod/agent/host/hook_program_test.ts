import { assertThrows } from "@std/assert";
import { HookError, requireHookProgram } from "./hook_program.ts";

Deno.test("requireHookProgram() accepts executable files and names the reason for others", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const [empty, bin] = [`${directory}/empty`, `${directory}/bin`];
    for (const one of [empty, bin, `${bin}/folder`]) await Deno.mkdir(one);
    await Deno.writeTextFile(`${bin}/hook`, "#!/bin/sh\n");
    await Deno.writeTextFile(`${bin}/notes`, "#!/bin/sh\n");
    await Deno.chmod(`${bin}/hook`, 0o700);
    await Deno.chmod(`${bin}/notes`, 0o600);
    await Deno.symlink("hook", `${bin}/link`);
    await Deno.symlink("nothing", `${bin}/dangling`);

    for (const program of [`${bin}/hook`, `${bin}/link`, "hook"]) {
      requireHookProgram(program, `${empty}:${bin}/notes:${bin}`);
    }
    // A file that cannot be run does not end the search.
    await Deno.writeTextFile(`${empty}/hook`, "");
    requireHookProgram("hook", `${empty}:${bin}`);

    for (
      const [program, why] of [
        [`${bin}/none`, "there is no such file; give the path of an executable file"],
        [`${bin}/dangling`, "there is no such file"],
        [`${bin}/hook/none`, "there is no such file"],
        [`${bin}/notes`, "it is not executable"],
        [`${bin}/folder`, "it is a directory"],
        ["/dev/null", "it is no file"],
        ["none", `it is not in ${empty}:${bin} (PATH)`],
        ["notes", `${bin}/notes: it is not executable`],
      ] as const
    ) {
      assertThrows(
        () => requireHookProgram(program, `${empty}:${bin}`),
        HookError,
        `cannot run ${program} (-on-subnet-change): ${why}`,
      );
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
