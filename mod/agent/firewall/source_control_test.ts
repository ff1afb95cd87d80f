import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { config } from "../../../tests/store/subnet_lab.ts";
import { SourceControl } from "./source_control.ts";
import { MASQUERADE_FEATURE } from "./source_policy.ts";
import { labLease } from "../testing/status_view_lab.ts";
import { FakeTime } from "../testing/time_lab.ts";

const CONFIG = await config({ Network: "10.20.0.0/16" });
const [OWN, A, B] = [labLease(1), labLease(2), labLease(3)];
const CHECK = { port: 8285, by: "backend" } as const;
const NONE = { added: [], removed: [], changed: [] };

/** A control over hosts that advertise masquerading, in a network where A has a lease. */
function begin(
  masquerading: Set<number>,
  check: typeof CHECK | { port: number; by: "firewall" } = CHECK,
) {
  let due = 0;
  const featuresOf = (host: number) => masquerading.has(host) ? [MASQUERADE_FEATURE] : [];
  const control = new SourceControl(featuresOf, () => due++);
  control.begin({ check, config: CONFIG, own: OWN }, [OWN, A]);
  return { control, due: () => due };
}

Deno.test("SourceControl.decide() accepts at once and refuses after five quiet seconds", () => {
  using time = new FakeTime({ by: /\/agent\/core\/timer\.ts/ });
  const masquerading = new Set([A.attributes.publicIP]);
  const { control } = begin(masquerading);
  using _control = control;
  assertEquals(control.isStrict, true, "in force at the start");

  control.apply({ ...NONE, added: [B] });
  assertEquals([control.decide("delayed"), control.isStrict], [true, false]);
  assertEquals(time.planned, []);

  masquerading.add(B.attributes.publicIP);
  control.featuresChanged([B.attributes.publicIP]);
  assertEquals([control.decide("delayed"), control.isStrict], [false, false]);
  assertEquals(time.planned, [5_000]);
  assertEquals(control.verdict(true), {
    isStrict: false,
    reason: "all of 2 peers masquerade; about to change",
  });
  // Other events do not put it off.
  assertEquals(control.decide("delayed"), false);
  assertEquals(time.planned, [5_000]);

  masquerading.delete(A.attributes.publicIP);
  control.featuresChanged([A.attributes.publicIP]);
  assertEquals(control.decide("delayed"), false);
  assertEquals(time.planned, [], "no longer about to begin");

  control.apply({ ...NONE, removed: [A] });
  control.decide("delayed");
  assertEquals([control.decide("now"), control.isStrict], [true, true]);
  assertEquals(time.planned, []);
});

Deno.test("SourceControl counts leases that no backend takes, and its own, for nobody", () => {
  const { control } = begin(new Set([A.attributes.publicIP]));
  using _control = control;
  const outside = { ...B, subnet: labLease(1).subnet };
  control.apply({ ...NONE, added: [outside] });
  assertEquals(control.decide("delayed"), false);
  assertEquals(control.isStrict, true);
});

Deno.test("SourceControl.verdict() is not strict when the firewall has no rules for it", () => {
  using _log = captureLog();
  const { control } = begin(new Set([A.attributes.publicIP]), { port: 8472, by: "firewall" });
  using _control = control;
  assertEquals(control.verdict(true)?.isStrict, true);
  assertEquals(control.verdict(false), {
    isStrict: false,
    reason: "no firewall rules of flanneld check them",
  });
});

Deno.test("SourceControl lets a lease that was written without credentials relax nothing", () => {
  const { control } = begin(new Set([A.attributes.publicIP]));
  using _control = control;
  const marked = { ...B, attributes: { ...B.attributes, isUnauthenticated: true as const } };
  control.apply({ ...NONE, added: [marked] });
  assertEquals([control.decide("delayed"), control.isStrict], [false, true]);
  // Its host writes it again, with credentials.
  control.apply({ ...NONE, changed: [{ before: marked, after: B }] });
  assertEquals([control.decide("delayed"), control.isStrict], [true, false]);
});
