/**
 * Holds the model to the table of cases that every real store passes.
 *
 * @module
 */
import { serverlessCases, type StoreLab } from "../../mod/store/testing/store_cases.ts";
import { StoreUnavailableError } from "../../mod/store/errors.ts";
import { ModelStore } from "./model_kv.ts";
import { StoreData, STORES, type StoreTraits } from "./store_data.ts";

for (const traits of STORES) {
  // The model reads as that of the embedded store does, and is held to it there.
  if (traits.name === "remote") continue;
  serverlessCases(`model of ${traits.name}`, () => Promise.resolve(makeModelLab(traits)), {
    losesReplies: traits.repeatedWrite !== undefined,
  });
}

/** The model in real time, with the hand of an operator. */
function makeModelLab(traits: StoreTraits): StoreLab {
  const data = new StoreData(traits, () => performance.now());
  const clock = setInterval(() => data.expire(), 50);
  const done = (step: () => void) => {
    step();
    return Promise.resolve();
  };
  return {
    endpoint: "model",
    open: (prefix) => {
      const transport = (request: Parameters<StoreData["apply"]>[0]) =>
        Promise.resolve(data.apply(request, "test"));
      return Promise.resolve(new ModelStore(prefix, data, transport));
    },
    openLossy: (prefix) => {
      let isLossy = false;
      const store = new ModelStore(prefix, data, (request) => {
        const reply = data.apply(request, "test");
        return isLossy ? Promise.reject(new StoreUnavailableError("lost")) : Promise.resolve(reply);
      });
      return Promise.resolve({
        store,
        loseReplies: (on) => void (isLossy = on),
        [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
      });
    },
    put: (key, value, ttl = 0) => done(() => data.put(key, value, ttl, "operator")),
    get: (key) => Promise.resolve(data.entries.get(key)?.value),
    delete: (key) => done(() => data.delete(key)),
    deleteTree: (key) =>
      done(() => {
        for (const held of [...data.entries.keys()]) {
          if (held === key || held.startsWith(`${key}/`)) data.delete(held);
        }
      }),
    makeEmpty: (key) => done(() => data.put(key, "", 0, "operator")),
    loseHistory: () => done(() => data.forgetHistory()),
    [Symbol.asyncDispose]: () => done(() => clearInterval(clock)),
  };
}
