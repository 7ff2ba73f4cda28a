//! Power cuts: whatever of the writes since the last sync came to the disk, the
//! next start finds the last acknowledged state or the one that was on its way.

use super::*;
use proptest::prelude::*;

const SECTOR: usize = 512;

/// The files that matter, and what a journal with them holds.
struct Cut {
    file: Vec<u8>,
    log: Vec<u8>,
    model: Model,
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn cut(folder: &Path, model: &Model) -> Cut {
    Cut {
        file: read(&folder.join(FILE)),
        log: read(&folder.join(format!("{FILE}-wal"))),
        model: model.clone(),
    }
}

fn found(file: &[u8], log: &[u8]) -> Model {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), file).unwrap();
    std::fs::write(folder.path().join(format!("{FILE}-wal")), log).unwrap();
    Model::of(&open(folder.path()))
}

/// One number of a group's making.
type Op = (u8, u8, u8, u8, u16);

/// Records that make sense after the model.
fn records(ops: &[Op], slots: &mut [u64; 3], next: &mut u64, model: &mut Model) -> Vec<Record> {
    let mut records = Vec::new();
    for &(kind, slot, level, index, len) in ops {
        let slot = &mut slots[usize::from(slot) % 3];
        let (level, len) = (level % 4, usize::from(len) % 6000);
        let index = u64::from(index) % (64 >> level);
        let record = match (kind % 12, *slot) {
            (_, 0) => {
                *next += 1;
                *slot = *next;
                submitted(*slot)
            }
            (0, job) => Record::Prefix {
                job: JobId(job),
                task: index,
                len: len as u64,
            },
            (1, job) => {
                *slot = 0;
                done(job, len as u64)
            }
            (kind, job) => partial(job, level, index, &vec![kind; len]),
        };
        model.carry_out(&record);
        records.push(record);
    }
    records
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A file that was to become `new` from `old`: of each sector that changed the
/// old, the new, or, if `garbage`, anything is there.
fn torn(old: &[u8], new: &[u8], garbage: bool, random: &mut Random) -> Vec<u8> {
    let mut torn = new.to_vec();
    torn.resize(old.len().max(new.len()), 0);
    let mut before = old.to_vec();
    before.resize(torn.len(), 0);
    for (now, before) in torn.chunks_mut(SECTOR).zip(before.chunks(SECTOR)) {
        match random.below(if garbage { 3 } else { 2 }) {
            0 => now.copy_from_slice(before),
            1 => {}
            _ => {
                for (now, before) in now.iter_mut().zip(before) {
                    if now != before {
                        *now = random.below(256) as u8;
                    }
                }
            }
        }
    }
    // What was appended may also not be there at all.
    let longer = torn.len() - old.len().min(torn.len());
    torn.truncate(torn.len() - random.below(longer + 1));
    torn
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_takes_nothing_that_was_acknowledged(
        groups in prop::collection::vec(prop::collection::vec(any::<Op>(), 1..8), 4..14),
        seed in 1..u64::MAX,
    ) {
        let folder = tempfile::tempdir().unwrap();
        // A log that is brought into the file, and begun anew, again and again.
        let options = Options { checkpoint_pages: 12, ..Options::default() };
        let journal = SqliteJournal::open_with(folder.path(), options).unwrap();
        let (mut model, mut slots, mut next) = (Model::default(), [0; 3], 0);
        let mut cuts = vec![cut(folder.path(), &model)];
        for (at, ops) in groups.iter().enumerate() {
            let records = records(ops, &mut slots, &mut next, &mut model);
            wait(journal.commit(group(at as u64 + 1, records))).unwrap();
            cuts.push(cut(folder.path(), &model));
        }
        let mut random = Random(seed);
        for pair in cuts.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            prop_assert_eq!(&found(&after.file, &after.log), &after.model);
            for garbage in [false, true] {
                // While the commit was written: the file is as it was.
                let log = torn(&before.log, &after.log, garbage, &mut random);
                let state = found(&before.file, &log);
                prop_assert!(state == before.model || state == after.model);
                // While the log was brought into the file: the log is whole.
                let file = torn(&before.file, &after.file, garbage, &mut random);
                prop_assert_eq!(&found(&file, &after.log), &after.model);
            }
        }
    }
}
