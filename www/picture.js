// The picture of an image job, drawn row by row as the result grows.

/** The most pixels to draw; a larger picture is thinned out. */
const MAX_PIXELS = 4_000_000;

/** Follows one job's result, from its first byte on. */
class Picture {
  constructor(job, canvas) {
    const { width, height } = job.output;
    this.key = keyOf(job);
    this.id = job.id;
    this.row = width * 4;
    this.every = Math.ceil(Math.sqrt((width * height) / MAX_PIXELS));
    this.canvas = canvas;
    canvas.width = Math.max(1, Math.floor(width / this.every));
    canvas.height = Math.max(1, Math.floor(height / this.every));
    canvas.setAttribute('aria-label', `The picture of ${job.name}`);
    this.pen = canvas.getContext('2d');
    /** Bytes taken in so far. */
    this.at = 0;
    this.rest = new Uint8Array(0);
    this.loading = false;
  }

  /** Fetches and draws what has been added up to `end`. */
  async follow(end) {
    if (this.loading || end <= this.at) return;
    this.loading = true;
    try {
      const response = await fetch(`api/v1/jobs/${this.id}/result?from=${this.at}`);
      if (!response.ok) return;
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.take(value);
      }
    } catch {
      // The connection was lost: the next look tries again from here.
    } finally {
      this.loading = false;
    }
  }

  take(bytes) {
    const first = Math.floor((this.at - this.rest.length) / this.row);
    this.at += bytes.length;
    let all = bytes;
    if (this.rest.length > 0) {
      all = new Uint8Array(this.rest.length + bytes.length);
      all.set(this.rest);
      all.set(bytes, this.rest.length);
    }
    const rows = Math.floor(all.length / this.row);
    this.rest = all.slice(rows * this.row);
    this.draw(all, first, rows);
  }

  draw(bytes, first, rows) {
    const { every, row } = this;
    const { width, height } = this.canvas;
    const top = Math.ceil(first / every);
    const end = Math.min(height, Math.ceil((first + rows) / every));
    if (end <= top) return;
    const image = new ImageData(width, end - top);
    for (let y = top; y < end; y += 1) {
      const from = (y * every - first) * row;
      const to = (y - top) * width * 4;
      if (every === 1) {
        image.data.set(bytes.subarray(from, from + width * 4), to);
        continue;
      }
      for (let x = 0; x < width; x += 1) {
        const pixel = from + x * every * 4;
        image.data.set(bytes.subarray(pixel, pixel + 4), to + x * 4);
      }
    }
    this.pen.putImageData(image, 0, top);
  }
}

/** Shows the picture of the job that has one, and keeps the last. */
export class Gallery {
  constructor(frame, canvas, caption) {
    this.frame = frame;
    this.canvas = canvas;
    this.caption = caption;
    this.picture = null;
  }

  /** Looks for a picture among the jobs, the newest first. */
  show(jobs) {
    const current = this.picture && jobs.find((job) => keyOf(job) === this.picture.key);
    const running = jobs.find((job) => isPicture(job) && isRunning(job));
    const wanted = (current && isRunning(current) && current) || running || current || jobs.find(isPicture);
    if (!wanted) return;
    if (!this.picture || this.picture.key !== keyOf(wanted)) {
      this.picture = new Picture(wanted, this.canvas);
    }
    const whole = wanted.state === 'done' ? wanted.len : wanted.prefix;
    const total = wanted.output.width * wanted.output.height * 4;
    const percent = Math.min(100, Math.floor((whole / total) * 100));
    this.caption.textContent =
      wanted.state === 'done' ? `${wanted.name}: complete` : `${wanted.name}: ${percent} %`;
    this.frame.hidden = false;
    this.picture.follow(whole);
  }
}

/** A coordinator that keeps nothing begins with the same ids again. */
function keyOf(job) {
  return `${job.id} ${job.submitted_ms}`;
}

function isRunning(job) {
  return job.state === 'running' || job.state === 'finishing';
}

function isPicture(job) {
  const { media_type: type, width, height } = job.output;
  const begun = isRunning(job) || job.state === 'done';
  return begun && type === 'image/x-rgba' && width > 0 && height > 0;
}
