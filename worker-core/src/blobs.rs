//! Modules, files and segments by hash: what is wanted, asked for, here; the
//! credit for what is on its way, and the cache of what nobody needs just now.

use crate::sorted::{SortedMap, SortedSet};
use crate::{Micros, Reason};
use bytes::Bytes;
use manyhands_protocol::{BlobHash, limits};
use std::collections::VecDeque;

/// Bytes asked for and not yet here, at most (or one blob, if that is larger),
/// while nothing was measured and on slow connections …
pub(crate) const CREDIT: u64 = 8 << 20;

/// … and what comes within [`AHEAD`] on fast ones, up to this: then a delay of as
/// much leaves no connection idle.
const MOST_CREDIT: u64 = 64 << 20;
const AHEAD: Micros = Micros::from_millis(1000);

/// How long the rate is measured before it counts.
const SPAN: Micros = Micros::from_millis(200);

/// Memory taken before any byte has come, at most.
const FIRST_ROOM: u64 = 4 << 20;

/// How often a blob may come with other bytes than its hash says.
const TRIES: u8 = 2;

#[derive(Debug)]
enum State {
    /// In the queue of what to ask for.
    Wanted,
    /// Asked for; what has come so far.
    Asked(Vec<u8>),
    /// Asked for, and not to be had: asked for again when it is next needed.
    Gone,
    /// Whole and verified.
    Here(Bytes),
}

#[derive(Debug)]
struct Entry {
    len: u64,
    /// How many leases and jobs need it.
    pins: u32,
    /// Whether the driver has it.
    put: bool,
    /// When it was last needed, for the cache.
    stamp: u64,
    wrong: u8,
    state: State,
}

/// What a piece of a blob led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// More is to come, or it is asked for again.
    NotYet,
    /// The blob is here now.
    Whole,
}

#[derive(Debug)]
pub(crate) struct Blobs {
    entries: SortedMap<BlobHash, Entry>,
    /// To be asked for, in order. May name what is not wanted any more.
    wanted: VecDeque<BlobHash>,
    /// Asked for on this connection, in order.
    asked: VecDeque<BlobHash>,
    /// Bytes asked for and not here.
    in_flight: u64,
    /// How many there may be.
    credit: u64,
    /// When the current measurement of the rate began, and what has come since.
    since: Micros,
    came: u64,
    /// Here and needed by none: the least recently needed first.
    idle: SortedSet<(u64, BlobHash)>,
    /// Bytes here.
    size: u64,
    budget: u64,
    clock: u64,
}

impl Blobs {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            entries: SortedMap::default(),
            wanted: VecDeque::new(),
            asked: VecDeque::new(),
            in_flight: 0,
            credit: CREDIT,
            since: Micros(0),
            came: 0,
            idle: SortedSet::default(),
            size: 0,
            budget,
            clock: 0,
        }
    }

    /// Whether the blob may be of this length for all that is known.
    pub(crate) fn agrees(&self, hash: BlobHash, len: u64) -> bool {
        self.entries.get(&hash).is_none_or(|entry| entry.len == len)
    }

    /// Needs a blob until [`unpin`](Self::unpin); whether it is here. Its length
    /// has been found to [agree](Self::agrees).
    pub(crate) fn pin(&mut self, hash: BlobHash, len: u64) -> bool {
        let entry = self.entries.get_or_insert_with(hash, || {
            self.wanted.push_back(hash);
            Entry {
                len,
                pins: 0,
                put: false,
                stamp: 0,
                wrong: 0,
                state: State::Wanted,
            }
        });
        entry.pins += 1;
        if matches!(entry.state, State::Gone) {
            entry.state = State::Wanted;
            self.wanted.push_back(hash);
        }
        self.idle.remove(&(entry.stamp, hash));
        matches!(entry.state, State::Here(_))
    }

    /// Needs it no more. Answers whether the driver is to drop it.
    pub(crate) fn unpin(&mut self, hash: BlobHash) -> bool {
        let entry = self.entries.get_mut(&hash).expect("what is pinned exists");
        assert!(entry.pins > 0, "{hash:?} is unpinned too often");
        entry.pins -= 1;
        if entry.pins > 0 {
            return false;
        }
        let dropped = std::mem::take(&mut entry.put);
        match entry.state {
            State::Wanted | State::Gone => {
                self.entries.remove(&hash);
            }
            // Its pieces are on their way: they end up in the cache.
            State::Asked(_) => {}
            State::Here(_) => self.rest(hash),
        }
        dropped
    }

    /// The bytes of a blob that is here, for the driver; `None` if it has them.
    pub(crate) fn put(&mut self, hash: BlobHash) -> Option<Bytes> {
        let entry = self.entries.get_mut(&hash).expect("what work names exists");
        let State::Here(bytes) = &entry.state else {
            panic!("work names {hash:?}, which is not here");
        };
        let first = !std::mem::replace(&mut entry.put, true);
        first.then(|| bytes.clone())
    }

    /// The bytes of a blob that is here.
    pub(crate) fn get(&self, hash: BlobHash) -> Option<Bytes> {
        match &self.entries.get(&hash)?.state {
            State::Here(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// What to ask for now, in order, as far as credit goes.
    pub(crate) fn ask(&mut self, now: Micros) -> Vec<BlobHash> {
        if self.in_flight == 0 {
            (self.since, self.came) = (now, 0);
        }
        let mut asks = Vec::new();
        while let Some(hash) = self.wanted.front().copied() {
            let entry = self.entries.get_mut(&hash);
            let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Wanted)) else {
                self.wanted.pop_front();
                continue;
            };
            let fits = self.in_flight == 0 || self.in_flight + entry.len <= self.credit;
            if !fits || asks.len() == limits::MAX_LIST {
                break;
            }
            entry.state = State::Asked(Vec::new());
            self.in_flight += entry.len;
            self.wanted.pop_front();
            self.asked.push_back(hash);
            asks.push(hash);
        }
        asks
    }

    /// A piece came.
    pub(crate) fn piece(
        &mut self,
        now: Micros,
        hash: BlobHash,
        offset: u64,
        total: u64,
        bulk: &[u8],
    ) -> Result<Arrival, Reason> {
        let bad = Reason::BadPiece(hash);
        let Some(entry) = self.entries.get_mut(&hash) else {
            return Err(bad);
        };
        let State::Asked(got) = &mut entry.state else {
            return Err(bad);
        };
        let end = offset.checked_add(bulk.len() as u64);
        if total != entry.len || offset != got.len() as u64 || end.is_none_or(|end| end > total) {
            return Err(bad);
        }
        if got.is_empty() {
            got.reserve_exact(total.min(FIRST_ROOM) as usize);
        }
        got.extend_from_slice(bulk);
        self.in_flight -= bulk.len() as u64;
        self.came += bulk.len() as u64;
        let took = now.since(self.since);
        if took >= SPAN {
            let ahead = self.came.saturating_mul(AHEAD.0) / took.0;
            self.credit = ahead.clamp(CREDIT, MOST_CREDIT);
            (self.since, self.came) = (now, 0);
        }
        if (got.len() as u64) < total {
            return Ok(Arrival::NotYet);
        }
        let bytes = Bytes::from(std::mem::take(got));
        self.asked.retain(|asked| *asked != hash);
        self.whole(hash, bytes)
    }

    fn whole(&mut self, hash: BlobHash, bytes: Bytes) -> Result<Arrival, Reason> {
        let entry = self.entries.get_mut(&hash).expect("its pieces came");
        if BlobHash::of(&bytes) != hash {
            entry.wrong += 1;
            let again = entry.wrong < TRIES;
            entry.state = State::Wanted;
            if entry.pins == 0 {
                self.entries.remove(&hash);
            } else {
                self.wanted.push_front(hash);
            }
            return if again {
                Ok(Arrival::NotYet)
            } else {
                Err(Reason::WrongHash(hash))
            };
        }
        self.size += entry.len;
        entry.state = State::Here(bytes);
        if entry.pins == 0 {
            self.rest(hash);
        } else {
            self.evict();
        }
        Ok(Arrival::Whole)
    }

    /// The coordinator has no such blob; whether it was asked for.
    pub(crate) fn gone(&mut self, hash: BlobHash) -> Result<(), Reason> {
        let entry = self.entries.get_mut(&hash);
        let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Asked(_))) else {
            return Err(Reason::BadPiece(hash));
        };
        let State::Asked(got) = std::mem::replace(&mut entry.state, State::Gone) else {
            unreachable!("it was asked for");
        };
        self.in_flight -= entry.len - got.len() as u64;
        self.asked.retain(|asked| *asked != hash);
        if entry.pins == 0 {
            self.entries.remove(&hash);
        }
        Ok(())
    }

    /// What was asked for will not come: it is first in line on the next
    /// connection.
    pub(crate) fn connection_lost(&mut self) {
        (self.in_flight, self.credit) = (0, CREDIT);
        while let Some(hash) = self.asked.pop_back() {
            let entry = self.entries.get_mut(&hash).expect("what was asked exists");
            if entry.pins == 0 {
                self.entries.remove(&hash);
            } else {
                entry.state = State::Wanted;
                self.wanted.push_front(hash);
            }
        }
    }

    fn rest(&mut self, hash: BlobHash) {
        self.clock += 1;
        let entry = self.entries.get_mut(&hash).expect("it is here");
        entry.stamp = self.clock;
        self.idle.insert((self.clock, hash));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.budget
            && let Some((_, hash)) = self.idle.pop_first()
        {
            let entry = self.entries.remove(&hash).expect("idle blobs are here");
            self.size -= entry.len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(0);

    fn deliver(blobs: &mut Blobs, bytes: &[u8]) -> Result<Arrival, Reason> {
        blobs.piece(NOW, BlobHash::of(bytes), 0, bytes.len() as u64, bytes)
    }

    #[test]
    fn credit_bounds_what_is_on_its_way() {
        let mut blobs = Blobs::new(0);
        let contents: Vec<Vec<u8>> = (0..4).map(|fill| vec![fill; 3 << 20]).collect();
        let hashes: Vec<BlobHash> = contents.iter().map(|bytes| BlobHash::of(bytes)).collect();
        for hash in &hashes {
            assert!(!blobs.pin(*hash, 3 << 20));
        }
        assert_eq!(blobs.ask(NOW), hashes[..2], "6 of 8 MiB");
        assert_eq!(blobs.ask(NOW), []);
        let first = &contents[0];
        let half = first.len() / 2;
        let total = first.len() as u64;
        let arrival = blobs.piece(NOW, hashes[0], 0, total, &first[..half]);
        assert_eq!(arrival, Ok(Arrival::NotYet));
        assert_eq!(blobs.ask(NOW), hashes[2..3], "7.5 of 8 MiB");
        let arrival = blobs.piece(NOW, hashes[0], half as u64, total, &first[half..]);
        assert_eq!(arrival, Ok(Arrival::Whole));
        blobs.connection_lost();
        assert_eq!(blobs.ask(NOW), hashes[1..3], "in the order asked before");
    }

    #[test]
    fn one_blob_may_exceed_the_credit() {
        let mut blobs = Blobs::new(0);
        let (small, large) = (BlobHash([1; 32]), BlobHash([2; 32]));
        blobs.pin(large, CREDIT * 3);
        blobs.pin(small, 1);
        assert_eq!(blobs.ask(NOW), [large]);
    }

    #[test]
    fn the_cache_forgets_the_least_recently_needed() {
        let mut blobs = Blobs::new(8);
        let contents: [&[u8]; 3] = [b"aaaa", b"bbbb", b"cccc"];
        for bytes in contents {
            blobs.pin(BlobHash::of(bytes), 4);
        }
        assert_eq!(blobs.ask(NOW).len(), 3);
        for bytes in contents {
            deliver(&mut blobs, bytes).unwrap();
        }
        let [a, b, c] = contents.map(BlobHash::of);
        assert!(blobs.get(a).is_some(), "pinned beyond the budget");
        assert_eq!(blobs.put(c), Some(Bytes::from_static(b"cccc")));
        assert_eq!(blobs.put(c), None);
        assert!(!blobs.unpin(b) && !blobs.unpin(a));
        assert!(blobs.unpin(c), "the driver drops what it was given");
        let here = [a, b, c].map(|hash| blobs.get(hash).is_some());
        assert_eq!(here, [true, false, true]);
    }

    #[test]
    fn other_bytes_are_asked_for_again_once() {
        let mut blobs = Blobs::new(0);
        let hash = BlobHash::of(b"good");
        blobs.pin(hash, 4);
        assert_eq!(blobs.ask(NOW), [hash]);
        assert_eq!(blobs.piece(NOW, hash, 0, 4, b"evil"), Ok(Arrival::NotYet));
        assert_eq!(blobs.ask(NOW), [hash]);
        let twice = blobs.piece(NOW, hash, 0, 4, b"evil");
        assert_eq!(twice, Err(Reason::WrongHash(hash)));
        blobs.connection_lost();
        assert_eq!(blobs.ask(NOW), [hash]);
        assert_eq!(blobs.piece(NOW, hash, 0, 4, b"good"), Ok(Arrival::Whole));
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let hash = BlobHash::of(b"good");
        for (offset, total) in [(0, 5), (1, 4), (u64::MAX, 4)] {
            let mut blobs = Blobs::new(0);
            blobs.pin(hash, 4);
            let unasked = blobs.piece(NOW, hash, 0, 4, b"good");
            assert_eq!(unasked, Err(Reason::BadPiece(hash)));
            blobs.ask(NOW);
            let outcome = blobs.piece(NOW, hash, offset, total, b"good");
            assert_eq!(outcome, Err(Reason::BadPiece(hash)));
        }
    }

    #[test]
    fn credit_follows_the_rate() {
        let mut blobs = Blobs::new(0);
        let contents: Vec<Vec<u8>> = (0..64).map(|fill| vec![fill; 1 << 20]).collect();
        let hashes: Vec<BlobHash> = contents.iter().map(|bytes| BlobHash::of(bytes)).collect();
        for hash in &hashes {
            blobs.pin(*hash, 1 << 20);
        }
        assert_eq!(blobs.ask(NOW).len(), 8);
        // 4 MiB in 200 ms are 20 MiB a second.
        for (at, bytes) in contents[..4].iter().enumerate() {
            let now = Micros::from_millis(50 * (at as u64 + 1));
            let arrival = blobs.piece(now, hashes[at], 0, 1 << 20, bytes);
            assert_eq!(arrival, Ok(Arrival::Whole));
        }
        assert_eq!(
            blobs.ask(Micros::from_millis(200)).len(),
            16,
            "20 under way"
        );
        // 2 in a second.
        for at in 4..6 {
            let now = Micros::from_millis(200 + 500 * (at as u64 - 3));
            let arrival = blobs.piece(now, hashes[at], 0, 1 << 20, &contents[at]);
            assert_eq!(arrival, Ok(Arrival::Whole));
        }
        assert_eq!(blobs.ask(Micros::from_millis(1200)), []);
        blobs.connection_lost();
        assert_eq!(blobs.ask(Micros::from_millis(1200)).len(), 8, "as at first");
    }

    #[test]
    fn what_was_gone_is_asked_for_when_it_is_needed_again() {
        let mut blobs = Blobs::new(0);
        let hash = BlobHash::of(b"lost");
        blobs.pin(hash, 4);
        assert_eq!(blobs.ask(NOW), [hash]);
        assert_eq!(blobs.gone(hash), Ok(()));
        assert_eq!(blobs.ask(NOW), []);
        assert!(!blobs.pin(hash, 4));
        assert_eq!(blobs.ask(NOW), [hash]);
        assert_eq!(deliver(&mut blobs, b"lost"), Ok(Arrival::Whole));
    }
}
