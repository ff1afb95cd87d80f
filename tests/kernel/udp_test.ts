import { carrierCases } from "../../backends/backend_cases.ts";
import { makeLease } from "../../backends/backend_lab.ts";
import { udpBackend } from "../../backends/udp/udp.ts";

// Its peers are in the worker's table; the kernel has one route for all of them.
carrierCases({ backend: udpBackend, overhead: 28, peerObjects: false, lease: makeLease });
