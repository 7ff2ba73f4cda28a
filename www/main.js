// The page's main thread: it draws, and passes on what a person wants. The
// computing is the hub's (hub.js), a worker.
import { count, duration, plural, speed } from './format.js';
import { JobList } from './jobs.js';
import { Gallery } from './picture.js';
import { Plot } from './plot.js';
import { Wakefulness, watchBattery } from './power.js';

/** How often to look at the jobs, in milliseconds. */
const LOOK_MS = 1500;
/** How long an answer may take: no look may stop all later ones. */
const ANSWER_MS = 10_000;
/** How often an idle worker asks whether it is left out, and why. */
const ASK_MS = 10_000;
/** How long a stop may take to hand in what is nearly done, in milliseconds. */
const PARTING_MS = 1000;

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const plot = new Plot($('plot'));
const gallery = new Gallery($('picture'), $('canvas'), $('picture-caption'));
const jobList = new JobList($('jobs'), $('no-jobs'));
const wakefulness = new Wakefulness();

let hub = null;
let status = null;
let onBattery = false;
let pausedByPerson = false;
/** The last session's last status, for the farewell. */
let farewell = null;
let retryAt = null;
/** What the coordinator last said of itself, of the jobs, and of this worker. */
let crowd = null;
let quarantine = null;
let askedAt = -Infinity;
/** The coordinator's version when this page was loaded. */
let version = null;
/** The page was put aside while it computed. */
let aside = false;
/** What sessions before this one did. */
const before = { blocks: 0, tasks: 0 };

// What a person lends.

const kept = {
  get(key) {
    try {
      return localStorage.getItem(`manyhands.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`manyhands.${key}`, value);
    } catch {
      // Private windows may refuse: then it is not remembered.
    }
  },
};

function threads() {
  return Number($('threads').value);
}

function share() {
  return Number(document.querySelector('input[name=share]:checked').value) / 100;
}

function isPaused() {
  return pausedByPerson || (onBattery && $('battery').checked);
}

function setUpSettings() {
  const cores = Math.max(1, navigator.hardwareConcurrency || 2);
  const asked = Number(query.get('threads') || kept.get('threads')) || Math.max(1, cores - 1);
  $('threads').max = Math.max(cores, Number(query.get('threads')) || 1);
  $('threads').value = asked;
  const part = query.get('share') || kept.get('share');
  const choice = part && document.querySelector(`input[name=share][value="${CSS.escape(part)}"]`);
  if (choice) choice.checked = true;
  $('battery').checked = kept.get('battery') !== 'no';
  showThreads();
  $('threads').addEventListener('input', () => {
    showThreads();
    kept.set('threads', threads());
    tell({ op: 'slots', slots: threads() });
  });
  for (const input of document.querySelectorAll('input[name=share]')) {
    input.addEventListener('change', () => {
      kept.set('share', input.value);
      tell({ op: 'share', share: share() });
    });
  }
  $('battery').addEventListener('change', () => {
    kept.set('battery', $('battery').checked ? 'yes' : 'no');
    tellPause();
  });
}

function showThreads() {
  $('threads-now').textContent = `${threads()} of ${$('threads').max}`;
}

// The hub.

function tell(message) {
  if (hub) hub.postMessage(message);
}

function tellPause() {
  tell({ op: 'pause', paused: isPaused() });
  show();
}

function start() {
  if (hub) return;
  farewell = null;
  quarantine = null;
  askedAt = -Infinity;
  plot.restart();
  status = { state: 'connecting', blocks: 0, tasks: 0, ran: 0, worker: null, token: null };
  const started = new Worker('hub.js', { type: 'module' });
  hub = started;
  started.onmessage = ({ data }) => {
    if (hub === started) take(data);
  };
  started.onerror = (event) => {
    if (hub === started) broken(event.message);
  };
  const socket = new URL('ws', location.href);
  socket.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  socket.search = '';
  socket.hash = '';
  tell({
    op: 'start',
    url: socket.href,
    name: browserName(),
    slots: threads(),
    share: share(),
    // Half of what the browser tells, which is 8 GiB at most; a guest's limit is
    // what it may take, not what it takes.
    memory: (navigator.deviceMemory || 8) * 2 ** 29,
    hidden: document.hidden,
  });
  if (isPaused()) tell({ op: 'pause', paused: true });
  show();
}

function take(report) {
  if (aside) return;
  if (report.op === 'broken') {
    broken(report.reason);
    return;
  }
  status = report;
  retryAt = report.retryMs === null ? null : performance.now() + report.retryMs;
  if (report.state === 'stopped' || report.state === 'closed') {
    farewell = report;
    endHub();
  }
  show();
}

/** Ends the hub, and with it its slots. */
function endHub() {
  if (!hub) return;
  hub.terminate();
  hub = null;
  retryAt = null;
  before.blocks += status.blocks;
  before.tasks += status.tasks;
  status = { ...status, blocks: 0, tasks: 0 };
}

function broken(reason) {
  endHub();
  farewell = { ...status, state: 'refused', reason: reason || 'the worker cannot be loaded' };
  show();
}

function stop() {
  const stopping = hub;
  tell({ op: 'leave', withinMs: PARTING_MS });
  status = { ...status, state: 'stopping' };
  show();
  // Where there is no connection there is nobody to say goodbye to.
  setTimeout(() => {
    if (hub === stopping && hub) take({ ...status, state: 'stopped', retryMs: null });
  }, PARTING_MS + 500);
}

/** The page closes or is put aside: its leases are free at once. */
function leave() {
  if (!hub) return;
  aside = true;
  tell({ op: 'leave', withinMs: 0 });
  if (status.token) navigator.sendBeacon('api/v1/goodbye', status.token);
}

/** "Firefox 140 on Linux": for the list of who computes. */
function browserName() {
  const agent = navigator.userAgent;
  const found =
    /(Firefox|Edg|OPR)\/(\d+)/.exec(agent) ||
    /(Chrome)\/(\d+)/.exec(agent) ||
    /(?:Version)\/(\d+)[\d.]* (?:Mobile\/\w+ )?(Safari)/.exec(agent);
  const names = { Edg: 'Edge', OPR: 'Opera' };
  const name = found ? found.slice(1).sort((a, b) => isFinite(a) - isFinite(b)) : ['Browser', ''];
  const system = /Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux/.exec(agent);
  const place = system ? ` on ${system[0].replace('Mac OS X', 'macOS').replace('CrOS', 'ChromeOS')}` : '';
  return `${names[name[0]] || name[0]} ${name[1]}`.trim() + place;
}

// What is shown.

function state() {
  if (!hub) return farewell ? farewell.state : 'idle';
  return status.state;
}

function words(now) {
  switch (now) {
    case 'idle':
      return '';
    case 'connecting':
      return 'Connecting…';
    case 'waiting':
      return quarantine ? 'Connected, and left out for now.' : 'Connected. Waiting for something to compute.';
    case 'computing':
      return status.jobName ? `Computing for “${status.jobName}”.` : 'Computing.';
    case 'paused':
      return pausedByPerson ? 'Paused.' : 'Paused while on battery.';
    case 'offline': {
      const lost = status.worker === null ? 'the coordinator does not answer' : 'connection lost';
      return `${capital(status.reason || lost)}. Trying again by itself`;
    }
    case 'stopping':
      return 'Stopping…';
    case 'stopped':
      return `Stopped. Thank you for ${plural(before.tasks, 'task')}.`;
    default:
      return `${capital(farewell.reason || 'the coordinator closed this session')}.`;
  }
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, '');
}

/** The text as a sentence's end. */
function end(text) {
  return `${text.replace(/\.$/, '')}.`;
}

function show() {
  const now = state();
  const { dataset } = document.body;
  const last = status || { blocks: 0, tasks: 0, worker: null, job: null };
  const blocks = before.blocks + last.blocks;
  const tasks = before.tasks + last.tasks;
  dataset.state = now;
  dataset.blocks = blocks;
  dataset.tasks = tasks;
  dataset.worker = last.worker || '';
  dataset.job = (hub && last.job) || '';
  setText($('state'), words(now));
  setText($('go'), goWords());
  // Not `disabled`, which would take the focus from who uses the keyboard.
  $('go').setAttribute('aria-disabled', now === 'stopping');
  const over = !hub || now === 'stopping';
  if (over && document.activeElement === $('stop')) $('go').focus();
  $('stop').hidden = over;
  setText($('job'), (now === 'computing' && last.jobName) || '–');
  setText($('tasks'), count(tasks));
  setText($('blocks'), count(blocks));
  wakefulness.set(now === 'computing' || now === 'waiting');
}

function goWords() {
  if (!hub) return farewell ? 'Lend a hand again' : 'Lend a hand';
  if (pausedByPerson) return 'Go on';
  return isPaused() ? 'Go on all the same' : 'Pause';
}

/** What keeps anybody, or this browser, from computing. */
function showNotice() {
  const text = noticeWords();
  setText($('notice'), text);
  $('notice').hidden = text === '';
}

function noticeWords() {
  if (!crowd) return '';
  if (crowd.version !== version) {
    return 'The coordinator has been updated. If this page stays idle, reload it.';
  }
  if (crowd.trouble) {
    return `No work is handed out at the moment: ${end(crowd.trouble)} Nothing is lost, and it will go on by itself.`;
  }
  if (quarantine) {
    return `This browser is left out for a while: ${end(quarantine)} Lending fewer threads may help: each gets more memory.`;
  }
  return '';
}

/** Twice a second: what changes by itself. */
function tick() {
  if (document.hidden) return;
  if (hub && status) plot.sample(status.ran, status.state === 'computing');
  const { dataset } = document.body;
  dataset.beat = dataset.beat === 'odd' ? 'even' : 'odd';
  setText($('rate'), hub ? speed(plot.rate) : '–');
  const left = retryAt === null ? 0 : retryAt - performance.now();
  const wait = left > 900 ? ` in ${duration(left)}.` : '.';
  $('state').dataset.retry = state() === 'offline' ? wait : '';
}

function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// What others do.

let nextLook = null;
let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(nextLook);
  if (!document.hidden) {
    try {
      const [page, now] = await Promise.all([ask('jobs'), ask('status')]);
      crowd = now;
      version ??= now.version;
      jobList.show(page.jobs, status && status.worker);
      gallery.show(page.jobs);
      setText($('crowd'), crowdWords(now));
      await askAboutMe();
    } catch {
      crowd = null;
      setText($('crowd'), 'The coordinator does not answer.');
    }
    showNotice();
  }
  nextLook = setTimeout(look, LOOK_MS);
  looking = false;
}

/** Is this worker left out? Only asked while it has nothing to do though there
 * are jobs. */
async function askAboutMe() {
  const idle = hub && status.state === 'waiting' && crowd.running > 0;
  const before = quarantine;
  if (!idle) {
    quarantine = null;
  } else if (performance.now() - askedAt >= ASK_MS) {
    askedAt = performance.now();
    const me = status.worker && (await ask(`workers/${status.worker}`));
    quarantine = (me && me.quarantine) || null;
  }
  if (quarantine !== before) show();
}

/** What the coordinator says; null where there is no such thing (any more). */
async function ask(what) {
  const response = await fetch(`api/v1/${what}`, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

function crowdWords({ workers, slots }) {
  if (workers === 0) return 'No one is helping yet';
  return `${plural(workers, 'helper')}, ${plural(slots, 'thread')}`;
}

// Everything together.

$('go').addEventListener('click', () => {
  if (state() === 'stopping') return;
  if (!hub) {
    pausedByPerson = false;
    start();
  } else if (isPaused() && !pausedByPerson) {
    $('battery').checked = false;
    tellPause();
  } else {
    pausedByPerson = !pausedByPerson;
    tellPause();
  }
});
$('stop').addEventListener('click', stop);
$('settings').addEventListener('submit', (event) => event.preventDefault());
document.addEventListener('visibilitychange', () => {
  tell({ op: 'hidden', hidden: document.hidden });
  if (!document.hidden) look();
});
// Thawed after a freeze: the hub finds out by itself, from the time that passed.
document.addEventListener('resume', look);
window.addEventListener('pagehide', leave);
window.addEventListener('pageshow', (event) => {
  // Back from the browser's cache: the old hub has said goodbye.
  if (!event.persisted || !aside) return;
  aside = false;
  endHub();
  start();
});
setUpSettings();
watchBattery((now) => {
  onBattery = now;
  tellPause();
}).then((known) => ($('battery-field').hidden = !known));
show();
look();
setInterval(tick, 500);
if (query.get('auto') === '1') start();
