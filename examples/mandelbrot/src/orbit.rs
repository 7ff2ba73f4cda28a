//! The orbits of the points of one line: after how many steps z² + c leaves the disc.

use crate::colour::log2;
use crate::steps::advance;

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

/// How many points are computed side by side: two in a vector, and four vectors, since a step waits
/// for the one before it and four keep the processor's units busy meanwhile.
pub(crate) const LANES: usize = 8;

/// The points under way, side by side.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) x: [f64; LANES],
    pub(crate) y: [f64; LANES],
    pub(crate) real: [f64; LANES],
    pub(crate) imaginary: [f64; LANES],
}

/// Which point a lane is at.
#[derive(Clone, Copy)]
struct Place {
    point: u32,
    /// The step at which this point counts as one of the set.
    deadline: u64,
}

impl Place {
    /// A lane past the end of the line: its point, the origin, never escapes.
    const IDLE: Self = Self {
        point: u32::MAX,
        deadline: u64::MAX,
    };
}

impl Orbits {
    /// Puts `point` into the lane, or nothing, past the end of the line.
    fn enter(&self, lanes: &mut Lanes, lane: usize, point: u32, now: u64) -> Place {
        (lanes.x[lane], lanes.y[lane]) = (0.0, 0.0);
        if point >= self.count {
            (lanes.real[lane], lanes.imaginary[lane]) = (0.0, 0.0);
            return Place::IDLE;
        }
        lanes.real[lane] = self.left + f64::from(point) * self.step;
        lanes.imaginary[lane] = self.imaginary;
        Place {
            point,
            deadline: now + u64::from(self.iterations),
        }
    }

    /// Calls `found` with the smooth number of steps of each point that escapes, in no
    /// particular order, but never twice for a point.
    pub(crate) fn for_each_escape(&self, mut found: impl FnMut(u32, f64)) {
        let mut now = 0;
        let mut next = LANES as u32;
        let mut lanes = Lanes {
            x: [0.0; LANES],
            y: [0.0; LANES],
            real: [0.0; LANES],
            imaginary: [0.0; LANES],
        };
        let mut places: [Place; LANES] =
            std::array::from_fn(|lane| self.enter(&mut lanes, lane, lane as u32, now));
        loop {
            let deadlines = places.iter().map(|place| place.deadline);
            let deadline = deadlines.fold(u64::MAX, u64::min);
            if deadline == u64::MAX {
                return;
            }
            now += advance(&mut lanes, deadline - now, ESCAPED);
            for (lane, place) in places.iter_mut().enumerate() {
                let square = lanes.x[lane] * lanes.x[lane] + lanes.y[lane] * lanes.y[lane];
                if square > ESCAPED {
                    let steps = now + u64::from(self.iterations) - place.deadline;
                    found(place.point, smooth(steps, square));
                } else if now < place.deadline {
                    continue;
                }
                *place = self.enter(&mut lanes, lane, next, now);
                next = next.saturating_add(1);
            }
        }
    }
}

/// The number of steps, made continuous by how far the last one went.
fn smooth(steps: u64, square: f64) -> f64 {
    // log₂ of (log of |z| to the base of the radius).
    steps as f64 + 1.0 - log2(log2(square) / log2(ESCAPED))
}
