import { storeCases } from "./store_cases.ts";
import { makeEmbeddedLab } from "./embedded_lab.ts";

storeCases("embedded", () => Promise.resolve(makeEmbeddedLab()), { hasServer: false });
