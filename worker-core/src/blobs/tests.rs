//! What is asked for, what comes of it, and what is kept.

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

#[test]
fn what_the_driver_finds_is_not_asked_for() {
    let mut blobs = Blobs::new(8);
    blobs.seek(true);
    let contents: [&[u8]; 3] = [b"aaaa", b"bbbb", b"cccc"];
    let [a, b, c] = contents.map(BlobHash::of);
    for hash in [a, b, c] {
        blobs.pin(hash, 4);
    }
    assert_eq!(blobs.ask(NOW), []);
    assert_eq!(blobs.sought(), [(a, 4), (b, 4), (c, 4)]);
    assert_eq!(blobs.sought(), []);
    let unasked = blobs.piece(NOW, a, 0, 4, b"aaaa");
    assert_eq!(unasked, Err(Reason::BadPiece(a)));
    let bytes = Bytes::from_static(b"aaaa");
    assert_eq!(
        blobs.found(NOW, a, Found::Bytes(bytes.clone())),
        Arrival::Whole
    );
    assert_eq!(
        blobs.found(NOW, a, Found::Bytes(bytes)),
        Arrival::NotYet,
        "twice"
    );
    assert_eq!(blobs.get(a).unwrap(), "aaaa");
    // What it does not find, or not whole, comes from the coordinator.
    let short = Bytes::from_static(b"bbb");
    assert_eq!(blobs.found(NOW, b, Found::Bytes(short)), Arrival::NotYet);
    assert_eq!(blobs.found(NOW, c, Found::Nothing), Arrival::NotYet);
    assert_eq!(blobs.ask(NOW), [c, b]);
    assert_eq!(blobs.sought(), []);
    assert_eq!(deliver(&mut blobs, b"bbbb"), Ok(Arrival::Whole));
}

#[test]
fn what_the_driver_looks_for_counts_and_is_sought_anew_after_a_break() {
    let mut blobs = Blobs::new(0);
    blobs.seek(true);
    let hashes: Vec<BlobHash> = (0..4).map(|fill| BlobHash([fill; 32])).collect();
    for hash in &hashes {
        blobs.pin(*hash, 3 << 20);
    }
    assert_eq!(blobs.ask(NOW), []);
    assert_eq!(blobs.sought().len(), 2, "6 of 8 MiB");
    assert!(!blobs.unpin(hashes[1]));
    assert_eq!(blobs.found(NOW, hashes[1], Found::Nothing), Arrival::NotYet);
    blobs.connection_lost();
    let late = Bytes::from(vec![0; 3 << 20]);
    let late = blobs.found(NOW, hashes[0], Found::Bytes(late));
    assert_eq!(late, Arrival::NotYet);
    // What was put in vain is to be dropped.
    let late = blobs.found(NOW, hashes[2], Found::Put);
    assert_eq!(late, Arrival::Unwanted);
    assert_eq!(blobs.ask(NOW), []);
    let sought: Vec<BlobHash> = blobs.sought().iter().map(|sought| sought.0).collect();
    assert_eq!(sought, [hashes[0], hashes[2]]);
}

#[test]
fn what_slots_read_where_it_lies_takes_no_memory_and_is_not_kept() {
    let mut blobs = Blobs::new(1 << 20);
    blobs.seek(true);
    let [a, b, c] = [b"a", b"b", b"c"].map(|text| BlobHash::of(text));
    for hash in [a, b] {
        blobs.pin(hash, 1);
    }
    blobs.pin_bytes(c, 1);
    blobs.ask(NOW);
    assert_eq!(blobs.sought().len(), 3);
    assert_eq!(blobs.found(NOW, a, Found::Put), Arrival::Whole);
    assert_eq!(
        blobs.found(NOW, a, Found::Put),
        Arrival::NotYet,
        "as it was"
    );
    assert!(blobs.pin(a, 1), "it is here");
    assert_eq!(blobs.put(a), None, "the driver has put it");
    assert_eq!((blobs.get(a), blobs.size), (None, 0));
    assert!(!blobs.unpin(a), "one still needs it");
    assert!(blobs.unpin(a), "to be dropped");
    assert!(!blobs.pin(a, 1), "it is not kept");
    // Nobody needs it any more; and bytes are needed, which slots alone can read.
    assert!(!blobs.unpin(b));
    assert_eq!(blobs.found(NOW, b, Found::Put), Arrival::Unwanted);
    assert_eq!(blobs.found(NOW, c, Found::Put), Arrival::Unwanted);
    assert_eq!(blobs.ask(NOW), [c]);
}

#[test]
fn bytes_of_what_slots_read_are_asked_for() {
    let mut blobs = Blobs::new(0);
    blobs.seek(true);
    let hash = BlobHash::of(b"both");
    blobs.pin(hash, 4);
    blobs.ask(NOW);
    assert_eq!(blobs.found(NOW, hash, Found::Put), Arrival::Whole);
    assert!(!blobs.pin_bytes(hash, 4));
    assert_eq!(blobs.put(hash), None, "slots read it meanwhile");
    assert_eq!(blobs.ask(NOW), [hash]);
    assert_eq!(deliver(&mut blobs, b"both"), Ok(Arrival::Whole));
    assert_eq!(blobs.get(hash).unwrap(), "both");
    assert!(!blobs.unpin(hash));
    assert!(
        blobs.unpin(hash),
        "what the driver has is dropped with the last"
    );
}

#[test]
fn what_is_not_what_it_was_is_dropped_though_its_bytes_come_anyway() {
    let hash = BlobHash::of(b"both");
    let read_and_needed = || {
        let mut blobs = Blobs::new(0);
        blobs.seek(true);
        blobs.pin(hash, 4);
        blobs.ask(NOW);
        assert_eq!(blobs.found(NOW, hash, Found::Put), Arrival::Whole);
        blobs.pin_bytes(hash, 4);
        assert_eq!(blobs.ask(NOW), [hash]);
        blobs
    };
    // They are on their way.
    let mut blobs = read_and_needed();
    assert!(blobs.unread(hash));
    assert_eq!(blobs.ask(NOW), [], "asked for once");
    assert_eq!(deliver(&mut blobs, b"both"), Ok(Arrival::Whole));
    assert_eq!(blobs.put(hash).unwrap(), "both");
    // They are here.
    let mut blobs = read_and_needed();
    assert_eq!(deliver(&mut blobs, b"both"), Ok(Arrival::Whole));
    assert!(blobs.unread(hash));
    assert!(!blobs.unread(hash), "once");
    assert_eq!(blobs.put(hash).unwrap(), "both");
    // They could not be had.
    let mut blobs = read_and_needed();
    assert_eq!(blobs.gone(hash), Ok(()));
    assert!(blobs.unread(hash));
    assert_eq!(blobs.ask(NOW), [hash], "needed again");
}

#[test]
fn what_is_not_what_it_was_comes_from_the_coordinator() {
    let mut blobs = Blobs::new(0);
    blobs.seek(true);
    let hash = BlobHash::of(b"text");
    blobs.pin(hash, 4);
    blobs.ask(NOW);
    assert!(!blobs.unread(hash), "it is not here");
    assert_eq!(blobs.found(NOW, hash, Found::Put), Arrival::Whole);
    assert!(blobs.unread(hash));
    assert!(!blobs.unread(hash), "once");
    assert_eq!(blobs.ask(NOW), [hash]);
    assert_eq!(deliver(&mut blobs, b"text"), Ok(Arrival::Whole));
    assert_eq!(blobs.put(hash).unwrap(), "text");
}
