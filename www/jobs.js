// The list of jobs: how far each is, and who computes it.
import { count, duration, plural } from './format.js';

const SHOWN = 12;
const HELPERS = 5;

/** Keeps one list entry a job. */
export class JobList {
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    this.entries = new Map();
  }

  /** Shows `jobs`, the newest first; `me` is this tab's worker, if it has one. */
  show(jobs, me) {
    const shown = jobs.slice(0, SHOWN);
    this.empty.hidden = shown.length > 0;
    const ids = new Set(shown.map((job) => job.id));
    for (const [id, entry] of this.entries) {
      if (!ids.has(id)) {
        entry.root.remove();
        this.entries.delete(id);
      }
    }
    shown.forEach((job, place) => {
      let entry = this.entries.get(job.id);
      if (!entry) {
        entry = makeEntry();
        this.entries.set(job.id, entry);
      }
      if (this.list.children[place] !== entry.root) {
        this.list.insertBefore(entry.root, this.list.children[place] || null);
      }
      fill(entry, job, me);
    });
  }
}

function makeEntry() {
  const root = element('li', 'card job');
  const head = element('div', 'job-head');
  const name = element('span', 'job-name');
  const state = element('span', 'job-state');
  const bar = element('progress');
  const note = element('p', 'job-note');
  const who = element('p', 'job-who');
  bar.max = 1;
  head.append(name, state);
  root.append(head, bar, note, who);
  return { root, name, state, bar, note, who };
}

function fill(entry, job, me) {
  entry.root.dataset.state = job.state;
  setText(entry.name, job.name);
  setText(entry.state, stateOf(job));
  entry.bar.hidden = job.state === 'failed' || job.state === 'cancelled';
  entry.bar.value = job.state === 'done' || job.tasks === 0 ? 1 : job.done / job.tasks;
  entry.bar.setAttribute('aria-label', `${job.name}: ${stateOf(job)}`);
  entry.root.toggleAttribute('data-waiting', Boolean(job.waiting));
  setText(entry.note, noteOf(job));
  entry.note.hidden = entry.note.textContent === '';
  showHelpers(entry.who, job.contributions, me);
  entry.who.hidden = entry.who.textContent === '';
}

/** What its author, or a helper, should know of it. */
function noteOf(job) {
  if (job.state === 'failed') return job.failure.message.split('\n', 1)[0];
  return job.waiting ? `${job.waiting.charAt(0).toUpperCase()}${job.waiting.slice(1)}.` : '';
}

function stateOf(job) {
  switch (job.state) {
    case 'done':
      return `done in ${duration(job.elapsed_ms)}`;
    case 'failed':
      return job.task == null ? 'failed' : `failed at task ${count(job.task)}`;
    case 'cancelled':
      return 'cancelled';
    case 'finishing':
      return 'finishing';
    default: {
      const part = Math.floor((job.done / Math.max(1, job.tasks)) * 100);
      const left = job.remaining_ms == null ? '' : `, ${duration(job.remaining_ms)} to go`;
      return `${part} % of ${plural(job.tasks, 'task')}${left}`;
    }
  }
}

/** "You 40 %, lab-7 35 %, …": by the tasks of each. */
function showHelpers(place, contributions, me) {
  const total = contributions.reduce((sum, one) => sum + one.tasks, 0);
  if (total === 0) {
    setText(place, '');
    return;
  }
  const parts = contributions.slice(0, HELPERS).map((one) => {
    const mine = me !== null && String(one.worker) === me;
    const part = `${Math.round((one.tasks / total) * 100)} %`;
    return { mine, text: `${mine ? 'You' : one.name} ${part}` };
  });
  const others = contributions.length - parts.length;
  if (others > 0) parts.push({ mine: false, text: `${plural(others, 'other')}` });
  const text = parts.map((part) => part.text).join(' · ');
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren();
  parts.forEach((part, at) => {
    if (at > 0) place.append(' · ');
    const piece = element(part.mine ? 'strong' : 'span');
    piece.textContent = part.text;
    place.append(piece);
  });
}

function element(name, classes = '') {
  const made = document.createElement(name);
  made.className = classes;
  return made;
}

function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
