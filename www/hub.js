// The hub: a dedicated worker that runs worker-web. It passes on what the page
// wants and what the hub reports; all else is Rust.
import init, { Hub } from './pkg/manyhands_worker_web.js';

let hub = null;
const ready = init().catch((error) => {
  postMessage({ op: 'broken', reason: `this browser cannot run the worker: ${error.message}` });
  throw error;
});

onmessage = async ({ data }) => {
  await ready;
  if (data.op === 'start') {
    const slotUrl = new URL('slot.js', import.meta.url).href;
    hub = new Hub({ ...data, slotUrl }, (report) => postMessage(report));
    return;
  }
  switch (data.op) {
    case 'slots':
      hub.setSlots(data.slots);
      break;
    case 'share':
      hub.setShare(data.share);
      break;
    case 'pause':
      hub.setPaused(data.paused);
      break;
    case 'hidden':
      hub.setHidden(data.hidden);
      break;
    case 'leave':
      hub.leave(data.withinMs);
      break;
  }
};
