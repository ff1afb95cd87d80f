import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Errno, SysError } from "../ffi/errno.ts";
import { Batch, Sequence } from "./batch.ts";
import { Netlink } from "./connection.ts";
import { NLM_F_ACK } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import { type RecordedMessage, Recorder } from "./testing/recorder.ts";
import type { Operation } from "./wire/types.ts";
import { NUD_PERMANENT } from "../linux_constants.ts";

const RTM_DELNEIGH = 29;

function neighbour(number: number, op: Operation["op"] = "replace"): Operation {
  const object = { index: 7, address: number, mac: "02:00:00:00:00:01", state: NUD_PERMANENT };
  return { op, kind: "neighbour", object };
}

/** The address in the NDA_DST of a message that {@linkcode neighbour} made. */
function numberOf({ bytes }: RecordedMessage): number {
  return new DataView(bytes.buffer).getUint32(16 + 12 + 4, false);
}

function numberOfOperation(operation: Operation): number {
  return (operation.object as { address: number }).address;
}

Deno.test("Netlink.execute() asks only the last message of each send for an acknowledgement", () => {
  const recorder = new Recorder();
  using netlink = new Netlink(recorder);
  const result = netlink.execute(Array.from({ length: 1000 }, (_, i) => neighbour(i)));
  assertEquals(result, { applied: 1000, failures: [], systemCalls: 6 });
  assertEquals(recorder.sends, [409, 409, 182]);
  const asking = recorder.messages.flatMap(({ flags }, i) => (flags & NLM_F_ACK) !== 0 ? [i] : []);
  assertEquals(asking, [408, 817, 999]);
  assertEquals(recorder.messages.map(numberOf), Array.from({ length: 1000 }, (_, i) => i));
});

Deno.test("Netlink.execute() makes no call for an empty batch", () => {
  const recorder = new Recorder();
  using netlink = new Netlink(recorder);
  assertEquals(netlink.execute([]), { applied: 0, failures: [], systemCalls: 0 });
  assertEquals(recorder.sends, []);
});

Deno.test("Netlink.execute() reports failures by operation and carries out the rest", () => {
  const refused = new Map([[0, Errno.EPERM], [3, Errno.EEXIST], [9, Errno.EINVAL]]);
  const recorder = new Recorder({ refuse: (message) => refused.get(numberOf(message)) ?? 0 });
  using netlink = new Netlink(recorder);
  const { applied, failures } = netlink.execute(
    Array.from({ length: 10 }, (_, i) => neighbour(i, "add")),
  );
  assertEquals(applied, 7);
  assertEquals(
    failures.map(({ operation, error }) => [numberOfOperation(operation), error.code]),
    [[0, "EPERM"], [3, "EEXIST"], [9, "EINVAL"]],
  );
  assertEquals(
    failures[1]!.error.message,
    "RTM_NEWNEIGH 0.0.0.3 lladdr 02:00:00:00:00:01 on interface 7: EEXIST: file exists",
  );
});

Deno.test("Netlink.execute() counts the deletion of what is not there as applied", () => {
  for (const errno of [Errno.ENOENT, Errno.ESRCH, Errno.EADDRNOTAVAIL, Errno.ENODEV]) {
    using netlink = new Netlink(new Recorder({ refuse: () => errno }));
    assertEquals(netlink.execute([neighbour(1, "delete")]).failures, []);
    const [failure] = netlink.execute([neighbour(1, "replace")]).failures;
    assertEquals(failure!.error.errno, errno);
  }
  using netlink = new Netlink(new Recorder({ refuse: () => Errno.EPERM }));
  assertEquals(netlink.execute([neighbour(1, "delete")]).failures[0]!.error.code, "EPERM");
});

Deno.test("Netlink.execute() reports a malformed MAC and sends the others", () => {
  const recorder = new Recorder();
  using netlink = new Netlink(recorder);
  const bad: Operation = {
    op: "add",
    kind: "fdb",
    object: { index: 7, mac: "02:00", state: NUD_PERMANENT },
  };
  for (const operations of [[bad, neighbour(1), neighbour(2)], [neighbour(1), neighbour(2), bad]]) {
    recorder.messages.length = 0;
    const { applied, failures } = netlink.execute(operations);
    assertEquals([applied, failures.length], [2, 1]);
    assertEquals(failures[0]!.operation, bad);
    assertEquals(failures[0]!.error.detail, 'not a MAC address: "02:00"');
    assertEquals(recorder.messages.map(numberOf), [1, 2]);
  }
  assertEquals(netlink.execute([bad]).failures.length, 1);
});

Deno.test("Netlink.execute() finds every failure though acknowledgements overrun the queue", () => {
  const numbers = fc.uniqueArray(fc.integer({ min: 0, max: 199 }), { maxLength: 200 });
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 200 }),
    numbers,
    fc.integer({ min: 1, max: 30 }),
    (count, refused, queue) => {
      const set = new Set(refused);
      const recorder = new Recorder({
        queue,
        refuse: (message) => set.has(numberOf(message)) ? Errno.EPERM : 0,
      });
      using netlink = new Netlink(recorder);
      const { applied, failures } = netlink.execute(
        Array.from({ length: count }, (_, i) => neighbour(i)),
      );
      const expected = refused.filter((number) => number < count).sort((a, b) => a - b);
      assertEquals(failures.map(({ operation }) => numberOfOperation(operation)), expected);
      assertEquals(failures.every(({ error }) => error.errno === Errno.EPERM), true);
      assertEquals(applied, count - expected.length);
    },
  ));
});

Deno.test("Netlink.execute() counts additions whose outcome an overrun hid", () => {
  // A kernel of sets: an addition fails when it was there, and 0 to 4 always are refused.
  const present = new Set<number>();
  const recorder = new Recorder({
    queue: 3,
    refuse: (message) => {
      const number = numberOf(message);
      if (message.type === RTM_DELNEIGH) return present.delete(number) ? 0 : Errno.ENOENT;
      if (number < 5) return Errno.EINVAL;
      if (present.has(number)) return Errno.EEXIST;
      present.add(number);
      return 0;
    },
  });
  using netlink = new Netlink(recorder);
  const { failures } = netlink.execute(Array.from({ length: 8 }, (_, i) => neighbour(i, "add")));
  assertEquals(
    failures.map(({ operation, error }) => [numberOfOperation(operation), error.code]),
    [
      [0, "EINVAL"],
      [1, "EINVAL"],
      [2, "EINVAL"],
      [3, "EINVAL"],
      [4, "EINVAL"],
      // Made at the first try, whose success was lost.
      [5, "ENOBUFS"],
      [6, "ENOBUFS"],
      [7, "ENOBUFS"],
    ],
  );
  assertEquals([...present], [5, 6, 7]);
});

Deno.test("Netlink.execute() gives up on a socket that answers nothing", () => {
  const recorder = new Recorder();
  recorder.receive = () => 0;
  using netlink = new Netlink(recorder);
  const error = assertThrows(() => netlink.execute([neighbour(1)]), SysError);
  assertEquals(error.code, "ETIMEDOUT");
});

Deno.test("Batch.execute() distinguishes operations when sequence numbers wrap", () => {
  const refused = new Set([0, 2, 4]);
  const recorder = new Recorder({
    refuse: (message) => refused.has(numberOf(message)) ? Errno.EPERM : 0,
  });
  const batch = new Batch(recorder, new Sequence(0xfffffffe), new MessageWriter());
  const { failures } = batch.execute([0, 1, 2, 3, 4].map((number) => neighbour(number)));
  assertEquals(failures.map(({ operation }) => numberOfOperation(operation)), [0, 2, 4]);
  assertEquals(
    recorder.messages.map(({ sequence }) => sequence),
    [0xfffffffe, 0xffffffff, 0, 1, 2],
  );
});
