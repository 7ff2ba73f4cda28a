// What keeps a computing tab awake, and what says that it had better rest. All
// of it is an improvement: a browser without any of it computes as well.

/** Asks the browser not to freeze or sleep while this tab computes. */
export class Wakefulness {
  constructor() {
    this.wanted = false;
    /** The screen's lock, or the promise of one. */
    this.screen = null;
    this.release = null;
    document.addEventListener('visibilitychange', () => this.update());
  }

  set(wanted) {
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.update();
  }

  update() {
    this.holdLock();
    this.holdScreen();
  }

  /** A held Web Lock keeps Chromium from freezing a hidden tab that is busy. */
  holdLock() {
    if (!navigator.locks) return;
    if (this.wanted && !this.release) {
      const held = new Promise((resolve) => (this.release = resolve));
      const name = `manyhands-${Math.random()}`;
      navigator.locks.request(name, () => held).catch(() => {});
    } else if (!this.wanted && this.release) {
      this.release();
      this.release = null;
    }
  }

  /** One lock at a time; the browser ends it when the page is hidden. */
  holdScreen() {
    if (!navigator.wakeLock) return;
    if (this.wanted && !this.screen && !document.hidden) {
      const asked = navigator.wakeLock.request('screen');
      const ended = () => {
        if (this.screen === asked) this.screen = null;
      };
      this.screen = asked;
      // Refused: on a low battery, say.
      asked.then((lock) => lock.addEventListener('release', ended), ended);
    } else if (!this.wanted && this.screen) {
      const asked = this.screen;
      this.screen = null;
      asked.then((lock) => lock.release()).catch(() => {});
    }
  }
}

/** Calls `changed(onBattery)` now and whenever it changes; `null` is never told:
 * a browser that does not say is taken to be plugged in. */
export async function watchBattery(changed) {
  if (!navigator.getBattery) return false;
  try {
    const battery = await navigator.getBattery();
    const tell = () => changed(!battery.charging);
    battery.addEventListener('chargingchange', tell);
    tell();
    return true;
  } catch {
    return false;
  }
}
