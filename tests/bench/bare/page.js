// The base of a tab's ratio: the module on plain Web Workers, one a thread, with
// nothing around it: no coordinator, no leases, no merging, no progress.
const query = new URLSearchParams(location.search);
const [module, params] = await Promise.all([
  WebAssembly.compileStreaming(fetch('guest.wasm')),
  fetch('params.json').then((answer) => answer.text()),
]);

function worker() {
  const started = new Worker('worker.js');
  return new Promise((resolve) => {
    started.onmessage = ({ data }) => resolve({ started, tasks: data });
    started.postMessage({ module, params });
  });
}

const workers = await Promise.all(Array.from({ length: Number(query.get('threads')) }, worker));
const { tasks } = workers[0];
// As many blocks as in one process (in_process.rs).
const length = 1n << BigInt((tasks / BigInt(query.get('blocks')) || 1n).toString(2).length - 1);
let next = 0n;
let bytes = 0;

/** Has the worker run blocks until none is left. */
function blocks({ started }) {
  return new Promise((resolve) => {
    const give = () => {
      if (next >= tasks) return resolve();
      const first = next;
      next += length;
      started.postMessage({ first, end: next < tasks ? next : tasks });
    };
    started.onmessage = ({ data }) => {
      bytes += data.length;
      give();
    };
    give();
  });
}

const start = performance.now();
await Promise.all(workers.map(blocks));
const took = performance.now() - start;
document.title = JSON.stringify({ took, bytes });
