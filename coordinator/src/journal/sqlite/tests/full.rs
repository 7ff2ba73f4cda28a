//! The journal on a full disk.

use super::*;
use crate::blobs::tests::tiny_disk;

/// Groups fail while there is no space, and go through in order later.
fn waits_for_space(journal: &SqliteJournal, model: &mut Model, free: impl FnOnce()) {
    let great = vec![5; 300 << 10];
    let full = group(2, vec![submitted(2), partial(1, 0, 1, &great)]);
    let next = group(3, vec![partial(1, 0, 2, b"small")]);
    for _ in 0..3 {
        // Both wait at once: the second must not overtake the first.
        let (first, second) = (
            journal.commit(Arc::clone(&full)),
            journal.commit(Arc::clone(&next)),
        );
        for error in [wait(first).unwrap_err(), wait(second).unwrap_err()] {
            assert!(matches!(error, JournalError::Full { .. }), "{error}");
            assert!(error.may_pass());
        }
        let alone = wait(journal.commit(Arc::clone(&next))).unwrap_err();
        assert!(alone.may_pass(), "{alone}");
        assert_eq!(
            Model::of(journal),
            *model,
            "nothing was kept, all can be read"
        );
    }
    free();
    for group in [full, next] {
        wait(journal.commit(Arc::clone(&group))).unwrap();
        group
            .records
            .iter()
            .for_each(|record| model.carry_out(record));
    }
    assert_eq!(Model::of(journal), *model);
}

fn begun(journal: &SqliteJournal) -> Model {
    let mut model = Model::default();
    let first = group(1, vec![submitted(1), partial(1, 0, 0, b"zero")]);
    wait(journal.commit(Arc::clone(&first))).unwrap();
    first
        .records
        .iter()
        .for_each(|record| model.carry_out(record));
    model
}

#[test]
fn a_full_disk_is_waited_out_with_nothing_lost() {
    tiny_disk::run(
        module_path!(),
        "a_full_disk_is_waited_out_with_nothing_lost",
        |disk| {
            let journal = open(disk);
            let mut model = begun(&journal);
            let filler = tiny_disk::fill(disk, 16 << 10);
            waits_for_space(&journal, &mut model, || {
                std::fs::remove_file(filler).unwrap()
            });
            drop(journal);
            assert_eq!(Model::of(&open(disk)), model);
        },
    );
}

#[test]
fn a_disk_without_any_space_keeps_what_was_committed() {
    tiny_disk::run(
        module_path!(),
        "a_disk_without_any_space_keeps_what_was_committed",
        |disk| {
            let journal = open(disk);
            let model = begun(&journal);
            let filler = tiny_disk::fill(disk, 0);
            // Not even the end can be noted.
            drop(journal);
            assert!(disk.join("journal.sqlite-wal").exists());
            match SqliteJournal::open(disk) {
                Err(OpenError::Full { .. }) => {}
                other => panic!("{other:?}"),
            }
            std::fs::remove_file(filler).unwrap();
            assert_eq!(Model::of(&open(disk)), model);
        },
    );
}

#[test]
fn no_journal_is_made_where_there_is_no_space() {
    tiny_disk::run(
        module_path!(),
        "no_journal_is_made_where_there_is_no_space",
        |disk| {
            let filler = tiny_disk::fill(disk, 8 << 10);
            let error = SqliteJournal::open(disk).unwrap_err().to_string();
            let file = disk.join(FILE);
            assert_eq!(
                error,
                format!(
                    "no space is left for the journal {}: free some and start again",
                    file.display()
                )
            );
            assert!(!file.exists());
            std::fs::remove_file(filler).unwrap();
            begun(&open(disk));
        },
    );
}

#[test]
fn a_read_only_folder_is_an_error_and_stays_as_it_is() {
    tiny_disk::run(
        module_path!(),
        "a_read_only_folder_is_an_error_and_stays_as_it_is",
        |disk| {
            let model = begun(&open(disk));
            tiny_disk::set_writable(disk, false);
            let error = SqliteJournal::open(disk).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "the journal {} cannot be written (Read-only file system (os error 30)): make it \
                 and its folder writable",
                    disk.join(FILE).display()
                )
            );
            tiny_disk::set_writable(disk, true);
            assert_eq!(Model::of(&open(disk)), model);
        },
    );
}

/// The same where no disk can be mounted: the file may not grow.
#[test]
fn a_file_that_may_not_grow_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        max_pages: Some(50),
        ..Options::default()
    };
    let journal = SqliteJournal::open_with(folder.path(), options).unwrap();
    let mut model = begun(&journal);
    let great = vec![3; 100 << 10];
    let third = group(2, vec![submitted(3), partial(3, 0, 0, &great)]);
    wait(journal.commit(Arc::clone(&third))).unwrap();
    third
        .records
        .iter()
        .for_each(|record| model.carry_out(record));
    let full = group(3, vec![partial(1, 0, 1, &great)]);
    let error = wait(journal.commit(Arc::clone(&full))).unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "no space is left for the journal {}: free some, and the coordinator goes on by itself",
            folder.path().join(FILE).display()
        )
    );
    assert_eq!(Model::of(&journal), model);
    drop(journal);
    let journal = open(folder.path());
    wait(journal.commit(Arc::clone(&full))).unwrap();
    full.records
        .iter()
        .for_each(|record| model.carry_out(record));
    assert_eq!(Model::of(&journal), model);
}
