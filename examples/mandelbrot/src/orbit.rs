//! The orbits of the points of one line: after how many steps z² + c leaves the disc.

use crate::colour::log2;

/// The points of a line, from left to right.
pub(crate) struct Orbits {
    pub(crate) left: f64,
    pub(crate) step: f64,
    pub(crate) imaginary: f64,
    pub(crate) count: u32,
    pub(crate) iterations: u32,
}

/// The square of the radius at which a point has escaped. Far more than the 4 that would do: the
/// smooth count is then free of visible bands.
const ESCAPED: f64 = 65_536.0;

/// How many points are computed side by side. A step of one point waits for its own last one, so
/// that two keep the processor's units busier than one; more would not fit its registers.
const LANES: usize = 2;

/// One point under way.
#[derive(Clone, Copy)]
struct Lane {
    point: u32,
    /// The step at which this point counts as one of the set.
    deadline: u64,
    real: f64,
    imaginary: f64,
    x: f64,
    y: f64,
}

impl Lane {
    /// A lane past the end of the line: its point, the origin, never escapes.
    const IDLE: Self = Self {
        point: u32::MAX,
        deadline: u64::MAX,
        real: 0.0,
        imaginary: 0.0,
        x: 0.0,
        y: 0.0,
    };
}

impl Orbits {
    fn lane(&self, point: u32, now: u64) -> Lane {
        if point >= self.count {
            return Lane::IDLE;
        }
        Lane {
            point,
            deadline: now + u64::from(self.iterations),
            real: self.left + f64::from(point) * self.step,
            imaginary: self.imaginary,
            x: 0.0,
            y: 0.0,
        }
    }

    /// Calls `found` with the smooth number of steps of each point that escapes, in no
    /// particular order, but never twice for a point.
    pub(crate) fn for_each_escape(&self, mut found: impl FnMut(u32, f64)) {
        let mut now = 0;
        let mut next = LANES as u32;
        let mut lanes: [Lane; LANES] = std::array::from_fn(|lane| self.lane(lane as u32, now));
        loop {
            let deadline = lanes
                .iter()
                .fold(u64::MAX, |soonest, lane| soonest.min(lane.deadline));
            if deadline == u64::MAX {
                return;
            }
            now = advance(&mut lanes, now, deadline);
            for lane in &mut lanes {
                let square = lane.x * lane.x + lane.y * lane.y;
                if square > ESCAPED {
                    let steps = now + u64::from(self.iterations) - lane.deadline;
                    found(lane.point, smooth(steps, square));
                } else if now < lane.deadline {
                    continue;
                }
                *lane = self.lane(next, now);
                next = next.saturating_add(1);
            }
        }
    }
}

/// Steps all lanes until one has escaped or `deadline` has come; gives the step that is then.
#[inline]
fn advance(lanes: &mut [Lane; LANES], mut now: u64, deadline: u64) -> u64 {
    let [mut a, mut b] = *lanes;
    while now < deadline {
        let (ax2, ay2) = (a.x * a.x, a.y * a.y);
        let (bx2, by2) = (b.x * b.x, b.y * b.y);
        if ax2 + ay2 > ESCAPED || bx2 + by2 > ESCAPED {
            break;
        }
        a.y = (a.x + a.x) * a.y + a.imaginary;
        a.x = ax2 - ay2 + a.real;
        b.y = (b.x + b.x) * b.y + b.imaginary;
        b.x = bx2 - by2 + b.real;
        now += 1;
    }
    *lanes = [a, b];
    now
}

/// The number of steps, made continuous by how far the last one went.
fn smooth(steps: u64, square: f64) -> f64 {
    // log₂ of (log of |z| to the base of the radius).
    steps as f64 + 1.0 - log2(log2(square) / log2(ESCAPED))
}
