import { carrierCases } from "../../../backends/testing/backend_cases.ts";
import { makeLease } from "../../../backends/testing/backend_lab.ts";
import { vxlanBackend } from "../../../backends/vxlan/vxlan.ts";

carrierCases({
  backend: vxlanBackend,
  overhead: 50,
  lease: (subnet, publicIP) =>
    makeLease(subnet, publicIP, {
      backendType: "vxlan",
      // A VTEP MAC of the host's own.
      backendData: {
        VtepMAC: "0a:00" + publicIP.split(".").map((o) => `:${hex(Number(o))}`).join(""),
      },
    }),
});

function hex(octet: number): string {
  return octet.toString(16).padStart(2, "0");
}
