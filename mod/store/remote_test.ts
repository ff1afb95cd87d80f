import { makeEmbeddedLab } from "./embedded_lab.ts";
import { makeRemoteLab } from "./remote_lab.ts";
import { storeCases } from "./store_cases.ts";

storeCases("remote", () => makeRemoteLab(makeEmbeddedLab()), { access: "none" });
