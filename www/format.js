// Numbers and times as people read them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** A count: all its digits up to a million, then shortened. */
export function count(number) {
  return number < 1e6 ? whole.format(number) : short.format(number);
}

/** A speed: two significant digits while it is small. */
export function speed(perSecond) {
  if (perSecond === 0) return '0';
  if (perSecond < 10) return perSecond.toPrecision(2);
  return count(Math.round(perSecond));
}

/** A time in milliseconds: "8 s", "3 min", "2 h 5 min". */
export function duration(millis) {
  const seconds = Math.round(millis / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A number and its noun: "1 thread", "3 threads". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}
