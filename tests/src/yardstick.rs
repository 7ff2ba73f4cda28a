//! How well machines were used, worked out from what they noted of a job, by the
//! definitions of `manyhands_sim::fleet`. Times are spans since a moment that all
//! of them share.

use manyhands_protocol::{Node, Tree};
use manyhands_sim::{at_best, climb_us, distinct};
use std::ops::Range;
use std::time::Duration;

/// A machine that was there for a time.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// Since when it was switched on.
    pub since: Duration,
    /// When it vanished.
    pub until: Option<Duration>,
    /// Its slots.
    pub slots: u16,
    /// Of each, against a machine of speed 1.
    pub speed: f64,
}

impl Presence {
    fn at(&self, time: Duration) -> bool {
        self.since <= time && self.until.is_none_or(|until| time < until)
    }
}

/// What a slot did.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The machine's index.
    pub machine: usize,
    /// What it computed.
    pub tasks: Range<u64>,
    /// From when
    pub begun: Duration,
    /// until when.
    pub ended: Duration,
    /// Whether it was stopped before its end.
    pub cancelled: bool,
}

/// What the coordinator said of some tasks, and when.
#[derive(Clone, Debug)]
pub struct Said {
    /// Which.
    pub tasks: Range<u64>,
    /// When it said so.
    pub at: Duration,
}

/// The job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// How many tasks it has.
    pub tasks: u64,
    /// What each takes a slot of speed 1.
    pub task: Duration,
    /// When the coordinator acknowledged it.
    pub began: Duration,
    /// When its result was there.
    pub ended: Duration,
}

/// All that was noted.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Whoever was there.
    pub machines: Vec<Presence>,
    /// Whatever was computed.
    pub pieces: Vec<Piece>,
    /// Blocks that were handed out.
    pub granted: Vec<Said>,
    /// Partials that became part of the result.
    pub accepted: Vec<Said>,
}

/// The end of a job.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct End {
    /// From the first machine without work to the result.
    pub took: Duration,
    /// The same at best.
    pub ideal: Duration,
}

impl Notes {
    /// Slot time that was there.
    #[must_use]
    pub fn available(&self, job: &Job) -> Duration {
        let each = self.machines.iter().map(|machine| {
            let until = machine
                .until
                .map_or(job.ended, |until| until.min(job.ended));
            until.saturating_sub(machine.since.max(job.began)) * u32::from(machine.slots)
        });
        each.sum()
    }

    /// The job's end, where packets take `round_trip`; `None` where no machine was
    /// ever without work.
    #[must_use]
    pub fn end(&self, job: &Job, round_trip: Duration) -> Option<End> {
        let idle = self.first_idle(job)?;
        let present = self.machines.iter().filter(|machine| machine.at(idle));
        let (mut speed, mut fastest) = (0.0, 0.0_f64);
        for machine in present {
            speed += machine.speed * f64::from(machine.slots);
            fastest = fastest.max(machine.speed);
        }
        let best = at_best(self.left(job, idle), speed, fastest);
        Some(End {
            took: job.ended.saturating_sub(idle),
            ideal: job.task.mul_f64(best) + round_trip + self.climb(job),
        })
    }

    /// The merges above the piece that came last.
    fn climb(&self, job: &Job) -> Duration {
        let mut pieces: Vec<&Piece> = self.pieces.iter().filter(|at| !at.cancelled).collect();
        pieces.sort_unstable_by_key(|piece| piece.ended);
        let all: Vec<_> = pieces.iter().map(|piece| piece.tasks.clone()).collect();
        let last = with_all(&all, job.tasks).map(|last| all[last].clone());
        let (Some(tree), Some(tasks)) = (Tree::new(job.tasks), last) else {
            return Duration::ZERO;
        };
        let mut node = Node::leaf(tasks.start);
        while tree.range(node).end < tasks.end
            && let Some(parent) = node.parent()
        {
            node = parent;
        }
        Duration::from_micros(climb_us(tree, node))
    }

    /// When a machine's last slot ended and it had nothing more to do, though no
    /// block was free.
    fn first_idle(&self, job: &Job) -> Option<Duration> {
        let given = self.all_given(job)?;
        let idle = |piece: &&Piece| {
            let at = piece.ended;
            let mut others = self.pieces.iter();
            let busy = others.any(|other| {
                other.machine == piece.machine && other.begun <= at && at < other.ended
            });
            at >= given && self.machines[piece.machine].at(at) && !busy
        };
        let ends = self.pieces.iter().filter(idle).map(|piece| piece.ended);
        ends.min().filter(|idle| *idle < job.ended)
    }

    /// When the last task was handed out.
    fn all_given(&self, job: &Job) -> Option<Duration> {
        let mut granted: Vec<&Said> = self.granted.iter().collect();
        granted.sort_unstable_by_key(|said| said.at);
        let all: Vec<_> = granted.iter().map(|said| said.tasks.clone()).collect();
        with_all(&all, job.tasks).map(|last| granted[last].at)
    }

    /// Tasks that were computed then on no machine that was there.
    fn left(&self, job: &Job, at: Duration) -> f64 {
        let accepted = self.accepted.iter().filter(|said| said.at <= at);
        let mut computed: Vec<_> = accepted.map(|said| said.tasks.clone()).collect();
        let mut at_work = 0.0;
        for piece in &self.pieces {
            if !self.machines[piece.machine].at(at) || piece.cancelled || piece.begun > at {
                continue;
            }
            if piece.ended <= at {
                computed.push(piece.tasks.clone());
            } else {
                let part = (at - piece.begun).div_duration_f64(piece.ended - piece.begun);
                at_work += (piece.tasks.end - piece.tasks.start) as f64 * part;
            }
        }
        let left = job.tasks - distinct(&mut computed);
        left as f64 - at_work
    }
}

/// Up to which of these they have all of so many tasks.
fn with_all(ranges: &[Range<u64>], tasks: u64) -> Option<usize> {
    let mut some = Vec::new();
    let (mut least, mut most) = (0, ranges.len());
    while least < most {
        let middle = least.midpoint(most);
        some.clear();
        some.extend_from_slice(&ranges[..=middle]);
        match distinct(&mut some) < tasks {
            true => least = middle + 1,
            false => most = middle,
        }
    }
    (least < ranges.len()).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn said(tasks: Range<u64>, at: u64) -> Said {
        Said { tasks, at: ms(at) }
    }

    fn piece(machine: usize, tasks: Range<u64>, begun: u64, ended: u64) -> Piece {
        Piece {
            machine,
            tasks,
            begun: ms(begun),
            ended: ms(ended),
            cancelled: false,
        }
    }

    const JOB: Job = Job {
        tasks: 300,
        task: Duration::from_millis(1),
        began: Duration::ZERO,
        ended: Duration::from_millis(160),
    };

    fn machine(speed: f64, until: Option<u64>) -> Presence {
        Presence {
            since: Duration::ZERO,
            until: until.map(ms),
            slots: 1,
            speed,
        }
    }

    /// Two machines of a slot each, of which one is twice as fast; the third was
    /// gone before it gave anything back.
    fn notes() -> Notes {
        Notes {
            machines: vec![
                machine(2.0, None),
                machine(1.0, None),
                machine(1.0, Some(50)),
            ],
            pieces: vec![
                piece(2, 200..230, 0, 30),
                piece(0, 0..100, 0, 50),
                piece(1, 100..200, 10, 110),
                // After a pause, in which there was a block that was free.
                piece(0, 200..280, 60, 100),
                piece(0, 280..300, 130, 140),
            ],
            granted: vec![
                said(0..100, 0),
                said(200..230, 0),
                said(100..200, 10),
                said(200..300, 60),
                said(280..300, 120),
            ],
            accepted: vec![said(0..100, 55)],
        }
    }

    #[test]
    fn the_end_begins_with_the_first_machine_that_has_nothing_left() {
        // The fast one at 100: of the other's hundred tasks ten are left, and twenty
        // that nobody has begun. Both together do three a millisecond. What ends last is
        // merged with all before it.
        let end = notes().end(&JOB, ms(7)).unwrap();
        let merge = Duration::from_micros(6);
        assert_eq!((end.took, end.ideal), (ms(60), ms(10 + 7) + merge));
    }

    #[test]
    fn what_vanished_was_there_until_then() {
        assert_eq!(notes().available(&JOB), ms(160 + 160 + 50));
    }

    #[test]
    fn what_a_vanished_machine_had_computed_is_to_be_done_again() {
        let mut notes = notes();
        // The fast one gave up before the end of its second piece.
        notes.pieces[3].cancelled = true;
        let end = notes.end(&JOB, ms(0)).unwrap();
        // 200..300 then, though the third machine had been through thirty of them.
        assert_eq!(end.ideal, ms(110).mul_f64(1.0 / 3.0));
        notes.machines[2].until = None;
        let end = notes.end(&JOB, ms(0)).unwrap();
        assert_eq!(end.ideal, ms(20));
    }

    #[test]
    fn one_task_takes_what_it_takes_the_fastest() {
        let mut notes = notes();
        notes.pieces[1].ended = ms(100);
        notes.pieces[2].ended = ms(100);
        notes.pieces[3].tasks = 200..300;
        let end = notes.end(&JOB, ms(0)).unwrap();
        assert_eq!(end.ideal, ms(1).mul_f64(0.5));
    }
}
