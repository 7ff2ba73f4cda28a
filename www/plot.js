// The small plot: tasks a second over the last two minutes.

const SPAN_MS = 120_000;
const SAMPLE_MS = 500;

/** Keeps samples of a counter and draws how fast it grows. */
export class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    this.last = null;
    this.rate = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  /** The counter begins again. */
  restart() {
    this.last = null;
    this.rate = 0;
  }

  /** The counter is at `total` now; draws if a sample is due. While nothing is
   * computed the speed is 0, without a tail. */
  sample(total, computing) {
    const now = performance.now();
    if (this.last === null) {
      this.last = { now, total };
      return;
    }
    const span = now - this.last.now;
    if (span < SAMPLE_MS * 0.9) return;
    const rate = ((total - this.last.total) * 1000) / span;
    this.last = { now, total };
    // Long tasks end in bursts: what is shown is smoothed over a few seconds.
    const weight = 1 - Math.exp(-span / 2500);
    this.rate = computing ? this.rate + (rate - this.rate) * weight : 0;
    this.points.push({ now, rate: this.rate });
    while (this.points[0].now < now - SPAN_MS) this.points.shift();
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const { width, height } = canvas.getBoundingClientRect();
    if (width === 0) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const base = height - 1;
    pen.strokeStyle = style.getPropertyValue('--line');
    pen.beginPath();
    pen.moveTo(0, base);
    pen.lineTo(width, base);
    pen.stroke();
    if (this.points.length < 2) return;
    const now = this.points[this.points.length - 1].now;
    const top = Math.max(...this.points.map((point) => point.rate), 1e-9) * 1.12;
    const x = (point) => width - ((now - point.now) / SPAN_MS) * width;
    const y = (point) => base - (point.rate / top) * (base - 4);
    pen.beginPath();
    for (const point of this.points) pen.lineTo(x(point), y(point));
    pen.strokeStyle = style.color;
    pen.lineWidth = 2;
    pen.lineJoin = 'round';
    pen.stroke();
    pen.lineTo(width, base);
    pen.lineTo(x(this.points[0]), base);
    pen.globalAlpha = 0.14;
    pen.fillStyle = style.color;
    pen.fill();
  }
}
