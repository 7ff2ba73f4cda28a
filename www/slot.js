// One slot: a thread of this browser that runs guests. The hub (worker-web)
// sends it jobs and pieces; it answers with partials or failures. It knows no
// network, no leases and no tree. A classic worker without imports, so that
// tests can start it from a Blob.
//
// From the hub:  job, forget, share, run, merge, cancel.
// To the hub:    slice (about to run so many tasks), done, failed, log.
'use strict';

/** How long a slice should take, in milliseconds: V8 does not replace a
 * function that runs, so it must be left and entered again. */
const SLICE_MS = 20;
/** A slice is at most this many times the one before it. */
const GROWTH = 4;
/** Rests shorter than this, in milliseconds, are saved up. */
const REST_MS = 4;
/** Lines longer than this are cut, in bytes. */
const MAX_LINE = 4096;
/** Lines a piece may log; the rest is dropped. */
const MAX_LINES = 100;
/** How the SDK's panic handler begins its line. */
const PANIC = 'panicked at ';
/** The hub makes a module's start function this export: it may call imports,
 * which need the memory, which is not known before the instance is. */
const START = 'manyhands: start';

// V8 gives ten frames otherwise, and a panic alone takes eight.
Error.stackTraceLimit = 50;

const jobs = new Map();
/** Reads any bytes, like Rust's `from_utf8_lossy`: no byte is left out. */
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
/** Throws where Rust's `from_utf8` refuses. */
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
let share = 1;
let owedRest = 0;
let cancelled = null;
/** Pieces run one after the other, whatever the hub sends. */
let queue = Promise.resolve();

onmessage = ({ data }) => {
  switch (data.op) {
    case 'job':
      jobs.set(data.job, data);
      break;
    case 'forget':
      jobs.delete(data.job);
      break;
    case 'share':
      share = Math.min(1, Math.max(0.05, data.share));
      break;
    case 'cancel':
      cancelled = data.id;
      break;
    case 'run':
      enqueue(data, run);
      break;
    case 'merge':
      enqueue(data, merge);
      break;
  }
};

function enqueue(order, work) {
  // What is thrown here is a fault of this script, not of a guest: the hub is to
  // hear of it (an error event), and a promise would keep it to itself.
  const broken = (error) => setTimeout(() => { throw error; });
  queue = queue.then(() => answer(order, work)).catch(broken);
}

async function answer(order, work) {
  // Without this pause two slots that instantiate in a row run out of memory.
  await nextTurn();
  const guest = new Guest(jobs.get(order.job), order);
  try {
    guest.start();
    const partial = await work(order, guest);
    const busy = guest.busy;
    if (partial === null) {
      postMessage({ op: 'cancelled', id: order.id, busy });
    } else {
      postMessage({ op: 'done', id: order.id, partial, busy }, [partial.buffer]);
    }
  } catch (error) {
    postMessage({ op: 'failed', id: order.id, busy: guest.busy, ...guest.failure(error) });
  }
}

/** Runs the tasks `first .. first + count`; their partial, or null if cancelled. */
async function run(order, guest) {
  let next = order.first;
  let left = order.count;
  let size = 1;
  while (left > 0n) {
    const count = BigInt(size) < left ? BigInt(size) : left;
    const tasks = Number(count);
    slice(order, tasks);
    const took = guest.timed(() => guest.run(next, count));
    next += count;
    left -= count;
    size = order.single ? 1 : nextSize(tasks, took);
    await rest(order, took);
    if (cancelled === order.id) return null;
  }
  slice(order, 0);
  return guest.take();
}

async function merge(order, guest) {
  return guest.merge(order.left, order.right);
}

/** Says that so many tasks are about to run, or that none are for a while. */
function slice(order, tasks, rest = 0) {
  postMessage({ op: 'slice', id: order.id, tasks, rest });
}

/** How many tasks to run next, when `tasks` took so many milliseconds. */
function nextSize(tasks, took) {
  // Clocks are as coarse as a millisecond: nothing is below a quarter.
  const ideal = Math.floor((tasks * SLICE_MS) / Math.max(took, 0.25));
  return Math.max(1, Math.min(ideal, tasks * GROWTH));
}

/** Leaves the rest of the processor to others, and lets messages in. */
function rest(order, took) {
  owedRest += took * (1 / share - 1);
  if (owedRest < REST_MS) return nextTurn();
  const pause = owedRest;
  owedRest = 0;
  slice(order, 0, pause);
  return new Promise((resolve) => setTimeout(resolve, pause));
}

const turns = new MessageChannel();
let onTurn = () => {};
turns.port1.onmessage = () => onTurn();

/** A turn of the event loop; a timer would take four milliseconds. */
function nextTurn() {
  return new Promise((resolve) => {
    onTurn = resolve;
    turns.port2.postMessage(null);
  });
}

/** What a guest asked of its host and may not: a trap. */
class HostFault extends Error {}

/** What a guest answered with status 1: its own text. */
class GuestError extends Error {}

/** One fresh instance of a job's module. */
class Guest {
  constructor(job, order) {
    this.job = job;
    this.order = order;
    this.busy = 0;
    this.lines = 0;
    /** The current call's last line that looks like a panic handler wrote it. */
    this.panic = null;
    this.exports = null;
    this.started = false;
  }

  start() {
    this.timed(() => {
      const imports = { manyhands: this.imports() };
      this.exports = new WebAssembly.Instance(this.job.module, imports).exports;
      if (this.exports[START]) this.exports[START]();
      this.started = true;
      const [ptr, len] = this.argument(this.job.params);
      this.value('open', this.exports.open(ptr, len));
    });
  }

  run(first, count) {
    this.value('run', this.exports.run(first, count));
  }

  take() {
    let partial;
    this.timed(() => (partial = this.value('take', this.exports.take())));
    return partial;
  }

  merge(left, right) {
    let partial;
    this.timed(() => {
      const a = this.argument(left);
      const b = this.argument(right);
      partial = this.value('merge', this.exports.merge(...a, ...b));
    });
    return partial;
  }

  /** Calls, and adds the milliseconds it took to `busy`; gives them too. */
  timed(call) {
    const start = performance.now();
    try {
      call();
    } finally {
      this.took = performance.now() - start;
      this.busy += this.took;
    }
    return this.took;
  }

  /** All of the guest's memory as it is now: a growth moves it. */
  memory() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  /** `len` bytes of memory at `ptr`; null if they are not all there. */
  bytes(ptr, len) {
    const memory = this.memory();
    return ptr + len > memory.length ? null : memory.subarray(ptr, ptr + len);
  }

  /** The range that an import was called with. */
  range(what, ptr, len) {
    const [start, size] = [ptr >>> 0, len >>> 0];
    const bytes = this.bytes(start, size);
    if (bytes) return bytes;
    throw new HostFault(
      `${what}: a range of ${size} bytes at ${hex(start)} is outside the guest's memory`,
    );
  }

  argument(bytes) {
    const len = bytes.length;
    const ptr = this.exports.alloc(len) >>> 0;
    const room = this.bytes(ptr, len);
    if (!room) {
      throw new HostFault(`alloc(${len}) answered ${hex(ptr)}, outside the guest's memory`);
    }
    room.set(bytes);
    return [ptr, len];
  }

  /** A copy of the value that `packed` points to. */
  value(what, packed) {
    if (this.panic !== null) {
      // It did not trap after all.
      this.tell(this.panic);
      this.panic = null;
    }
    const ptr = Number((packed >> 32n) & 0xffffffffn);
    const len = Number(packed & 0xffffffffn);
    const garbage = (answer) => new HostFault(`${what} answered ${answer}`);
    const bytes = this.bytes(ptr, len);
    if (!bytes) throw garbage(`${len} bytes at ${hex(ptr)}, outside the guest's memory`);
    if (len === 0) throw garbage('no status byte');
    if (bytes[0] === 1) {
      const text = utf8(bytes.subarray(1));
      throw text === null ? garbage('an error that is not UTF-8') : new GuestError(text);
    }
    if (bytes[0] !== 0) throw garbage(`the unknown status ${bytes[0]}`);
    return bytes.slice(1);
  }

  imports() {
    return {
      log: (ptr, len) => this.log(this.range('log', ptr, len)),
      progress: () => {},
      input_len: (task) => BigInt(this.input('input_len', task).length),
      input_read: (task, offset, ptr, len) => {
        const to = this.range('input_read', ptr, len);
        to.set(part('input_read', this.input('input_read', task), offset, len));
      },
      file_len: (ptr, len) => {
        const file = this.file(this.range('file_len', ptr, len));
        return file ? BigInt(file.length) : -1n;
      },
      file_read: (namePtr, nameLen, offset, ptr, len) => {
        const name = this.range('file_read', namePtr, nameLen);
        const file = this.file(name);
        if (!file) {
          const shown = JSON.stringify(lossy.decode(name.subarray(0, MAX_LINE)));
          throw new HostFault(`file_read: there is no broadcast file ${shown}`);
        }
        this.range('file_read', ptr, len).set(part('file_read', file, offset, len));
      },
    };
  }

  log(bytes) {
    const line = lossy.decode(bytes.subarray(0, MAX_LINE));
    if (!line.startsWith(PANIC)) {
      this.tell(line);
      return;
    }
    const before = this.panic;
    this.panic = line;
    if (before !== null) this.tell(before);
  }

  /** Passes a line on to the author. */
  tell(line) {
    if (this.lines >= MAX_LINES) return;
    this.lines += 1;
    postMessage({ op: 'log', id: this.order.id, text: line });
  }

  /** A broadcast file by the bytes of its name; none has a name that is not UTF-8. */
  file(bytes) {
    const name = utf8(bytes);
    return name === null ? undefined : this.job.files.get(name);
  }

  /** The bytes that belong to `task`, which must be one of this piece. */
  input(what, task) {
    const { first, count, inputs } = this.order;
    // Numbers are exact only for distances, not for tasks.
    if (count !== undefined && task >= first && task < first + count) {
      for (const segment of inputs) {
        const at = Number(task - segment.first);
        if (at >= 0 && at < segment.ends.length) {
          return segment.bytes.subarray(at === 0 ? 0 : segment.ends[at - 1], segment.ends[at]);
        }
      }
    }
    throw new HostFault(`${what}: task ${task} is outside the block that runs`);
  }

  /** The kind, the text and the frames of what a call threw. */
  failure(error) {
    if (error instanceof GuestError) return { kind: 'error', text: error.message, frames: [] };
    const frames = framesOf(error, this.job.module);
    const message = String((error && error.message) || error);
    if (this.started && this.exports.manyhands_oom && this.exports.manyhands_oom.value !== 0) {
      return { kind: 'memory', text: '', frames };
    }
    if (error instanceof HostFault) return { kind: 'trap', text: message, frames };
    if (/call stack|too much recursion/i.test(message)) {
      return { kind: 'stack', text: 'the stack overflowed', frames };
    }
    if (error instanceof WebAssembly.RuntimeError) {
      return { kind: 'trap', text: this.panic ?? message, frames };
    }
    // No fault of the guest: no room for an instance, say.
    return { kind: 'memory', text: `the guest cannot run here: ${message}`, frames };
  }
}

/** Bytes as text; null if they are not UTF-8. */
function utf8(bytes) {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

function hex(number) {
  return `0x${number.toString(16)}`;
}

function part(what, bytes, offset, len) {
  const start = Number(offset);
  const size = len >>> 0;
  if (start < 0 || start + size > bytes.length) {
    throw new HostFault(
      `${what}: ${size} bytes from offset ${offset} are outside its ${bytes.length} bytes`,
    );
  }
  return bytes.subarray(start, start + size);
}

/** The guest's frames of a stack, innermost first, as `[name, offset]`. */
function framesOf(error, module) {
  const prefix = `${moduleName(module)}.`;
  const lines = String((error && error.stack) || '').split('\n');
  return lines
    .map((line) => frameOf(line, prefix))
    .filter(Boolean)
    .slice(0, 32);
}

function frameOf(line, prefix) {
  // V8:           "at module.name (wasm://wasm/module-0123:wasm-function[12]:0x345)"
  // SpiderMonkey: "module.name@http://…/slot.js:wasm-function[12]:0x345"
  const place = /wasm-function\[(\d+)\]:0x([0-9a-f]+)/.exec(line);
  if (place) {
    const found = /^\s*at (.+) \(/.exec(line) || /^(.+?)@/.exec(line);
    let name = found ? found[1] : '';
    // A function without a name may be called by its module's.
    if (prefix !== '.' && `${name}.`.startsWith(prefix)) name = name.slice(prefix.length);
    if (name === '' || name.startsWith('wasm-function[')) name = `function ${place[1]}`;
    return [name, `0x${place[2]}`];
  }
  // JavaScriptCore: "<?>.wasm-function[name]@[wasm code]"
  const named = /wasm-function\[(.+)\]@\[wasm code\]/.exec(line);
  return named ? [named[1], ''] : null;
}

/** What the name section calls the module, which engines put before names. */
function moduleName(module) {
  const [section] = WebAssembly.Module.customSections(module, 'name');
  if (!section) return '';
  const bytes = new Uint8Array(section);
  // Subsection 0: its length, then the name's; both below 128 for any sane name.
  if (bytes[0] !== 0 || bytes[1] > 127 || bytes[2] > 127) return '';
  return lossy.decode(bytes.subarray(3, 3 + bytes[2]));
}
