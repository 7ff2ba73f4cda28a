//! Files that cannot be opened are reported and left as they are.

use super::*;
use schema::STEPS;

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a folder, apart from the index of the write-ahead log, which
/// holds nothing that is not elsewhere.
fn files(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    files.filter(|(name, _)| !name.ends_with("-shm")).collect()
}

fn put(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A journal's files, after an end in order and as they are while it is open.
fn closed_and_open() -> (Files, Files, Model) {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vec![submitted(1), submitted(2), done(2, 5)];
    records.extend((0..64).map(|index| partial(1, 0, index, &[index as u8; 900])));
    let journal = open(folder.path());
    wait(journal.commit(group(1, records))).unwrap();
    drop(journal);
    let closed = files(folder.path());
    assert_eq!(closed.len(), 1);
    let journal = open(folder.path());
    wait(journal.commit(group(1, vec![partial(1, 6, 0, b"all")]))).unwrap();
    let opened = files(folder.path());
    assert_eq!(opened.len(), 2);
    let model = Model::of(&journal);
    (closed, opened, model)
}

/// Opens a folder with these files; asserts that it does not, and that they
/// stay as they are, also at a second try.
fn refused(files_there: &Files) -> OpenError {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), files_there);
    let first = SqliteJournal::open(folder.path()).unwrap_err();
    assert_eq!(files(folder.path()), *files_there, "{first}");
    let second = SqliteJournal::open(folder.path()).unwrap_err();
    assert_eq!(
        std::mem::discriminant(&first),
        std::mem::discriminant(&second)
    );
    assert_eq!(files(folder.path()), *files_there, "{second}");
    first
}

fn only(bytes: &[u8]) -> Files {
    Files::from([(FILE.to_owned(), bytes.to_owned())])
}

#[test]
fn what_is_no_journal_is_not_touched() {
    let (closed, opened, _) = closed_and_open();
    let whole = &closed[FILE];
    let mut overwritten = whole.clone();
    overwritten[..4096].fill(0xa5);
    let mut other = whole.clone();
    other[68..72].fill(0);
    let mut torn_header = opened.clone();
    torn_header.get_mut(FILE).unwrap()[..512].fill(0);
    for files in [
        only(b""),
        only(b"notes of a person"),
        only(&whole[..50]),
        only(&overwritten),
        only(&other),
        torn_header,
    ] {
        let error = refused(&files);
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        let text = error.to_string();
        assert!(text.ends_with("; nothing was changed"), "{text}");
    }
}

#[test]
fn damage_is_found() {
    let (closed, ..) = closed_and_open();
    let whole = &closed[FILE];
    let pages = whole.len() / 4096;
    assert!(pages > 20);
    let mut found = 0;
    for page in 1..pages {
        let mut damaged = whole.clone();
        damaged[4096 * page..][..4096].fill(0x5a);
        // The bytes of a partial may be any; all else hangs together.
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &only(&damaged));
        if let Err(error) = SqliteJournal::open(folder.path()) {
            assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
            assert_eq!(files(folder.path()), only(&damaged));
            found += 1;
        }
    }
    assert!(found + 2 >= pages - 1, "{found} of {pages}");
    let half = refused(&only(&whole[..4096 * (pages / 2)]));
    assert!(matches!(half, OpenError::Corrupt { .. }), "{half}");
}

#[test]
fn a_folder_that_was_copied_in_part_is_reported() {
    let (_, opened, model) = closed_and_open();
    let wal = format!("{FILE}-wal");
    for (left, missing) in [(FILE, wal.as_str()), (wal.as_str(), FILE)] {
        let part = Files::from([(left.to_owned(), opened[left].clone())]);
        let error = refused(&part).to_string();
        assert!(
            error.contains(&format!("/{missing} is missing, without which")),
            "{error}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &opened);
    assert_eq!(Model::of(&open(folder.path())), model, "both are a whole");
}

#[test]
fn a_folder_may_have_any_name() {
    let (_, opened, _) = closed_and_open();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("50% of #1? été");
    std::fs::create_dir(&folder).unwrap();
    let part = only(&opened[FILE]);
    put(&folder, &part);
    let error = SqliteJournal::open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Incomplete { .. }), "{error}");
    assert_eq!(files(&folder), part);
}

#[test]
fn a_journal_that_was_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal.sqlite.new"), b"half").unwrap();
    drop(open(folder.path()));
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
#[cfg(unix)]
fn nobody_else_can_read_the_secret() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _open = open(folder.path());
    for name in files(folder.path()).keys() {
        let found = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

const NEWER: Options = Options {
    steps: &[STEPS[0], STEPS[1], "ALTER TABLE jobs ADD COLUMN note TEXT"],
    checkpoint_pages: 1000,
    max_pages: None,
};

const BROKEN: Options = Options {
    steps: &[
        STEPS[0],
        STEPS[1],
        "DELETE FROM jobs; DELETE FROM running; INSERT INTO nowhere VALUES (1)",
    ],
    ..NEWER
};

#[test]
fn an_older_file_is_brought_up_to_date_and_a_newer_one_refused() {
    let (closed, opened, model) = closed_and_open();
    for (files_there, clean) in [(&closed, true), (&opened, false)] {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), files_there);
        let journal = SqliteJournal::open_with(folder.path(), NEWER).unwrap();
        if !clean {
            assert_eq!(Model::of(&journal), model);
        }
        // Newer both in order and while it is open.
        let newer = files(folder.path());
        drop(journal);
        for newer in [newer, files(folder.path())] {
            let error = refused(&newer);
            assert!(matches!(error, OpenError::Newer { .. }), "{error}");
            let text = error.to_string();
            let tail = "has version 3, and this program knows versions up to 2: use a newer one; \
                        nothing was changed";
            assert!(text.ends_with(tail), "{text}");
        }
        SqliteJournal::open_with(folder.path(), NEWER).unwrap();
    }
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let (_, opened, model) = closed_and_open();
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &opened);
    SqliteJournal::open_with(folder.path(), BROKEN).unwrap_err();
    assert_eq!(Model::of(&open(folder.path())), model);
}

#[test]
fn damage_met_later_is_no_passing_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    wait(journal.commit(group(1, vec![submitted(1)]))).unwrap();
    let other = Connection::open(folder.path().join(FILE)).unwrap();
    other
        .execute("UPDATE running SET plan = x'00'", [])
        .unwrap();
    other
        .execute("UPDATE jobs SET view = 'no view'", [])
        .unwrap();
    for error in [
        wait(journal.stored()).unwrap_err(),
        wait(journal.job(JobId(1))).unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
        assert!(!error.may_pass());
    }
}
