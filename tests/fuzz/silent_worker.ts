/** A worker that begins one input and never comes back, for the session's test. */
(globalThis as unknown as { onmessage: (event: MessageEvent) => void }).onmessage = ({ data }) => {
  Atomics.add(new Int32Array(data.progress), 0, 1);
  for (;;);
};
