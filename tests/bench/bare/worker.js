// One thread: runs blocks of a guest by the ABI, a fresh instance each, in slices
// of some 20 ms.
const SLICE_MS = 20;
const imports = new Proxy({}, { get: (_, name) => () => { throw new Error(`${name} is called`); } });
let module;
let params;

function open() {
  const guest = new WebAssembly.Instance(module, { manyhands: imports }).exports;
  const at = guest.alloc(params.length);
  new Uint8Array(guest.memory.buffer, at, params.length).set(params);
  return [guest, value(guest, guest.open(at, params.length))];
}

/** A copy of the value that the guest answers. */
function value(guest, packed) {
  const [at, length] = [Number(packed >> 32n) >>> 0, Number(packed & 0xffffffffn)];
  const bytes = new Uint8Array(guest.memory.buffer, at, length);
  if (bytes[0] !== 0) throw new Error(new TextDecoder().decode(bytes));
  return bytes.slice(1);
}

function block(first, end) {
  const [guest] = open();
  let count = 1n;
  for (let next = first; next < end; ) {
    if (next + count > end) count = end - next;
    const start = performance.now();
    value(guest, guest.run(next, count));
    next += count;
    const ideal = (Number(count) * SLICE_MS) / Math.max(performance.now() - start, 0.25);
    count = BigInt(Math.max(1, Math.min(Math.floor(ideal), Number(count) * 4)));
  }
  return value(guest, guest.take());
}

onmessage = ({ data }) => {
  if (data.module) {
    module = data.module;
    params = new TextEncoder().encode(data.params);
    const [, answer] = open();
    postMessage(BigInt(JSON.parse(new TextDecoder().decode(answer)).tasks));
  } else {
    postMessage(block(data.first, data.end));
  }
};
