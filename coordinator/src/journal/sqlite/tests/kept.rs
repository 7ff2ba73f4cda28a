//! What was committed is there after the next start, as small as it can be.

use super::*;
use manyhands_protocol::Incarnation;

fn view_of(record: &Record) -> Arc<JobView> {
    match record {
        Record::Submitted { view, .. } | Record::Over { view, .. } => Arc::clone(view),
        other => panic!("{other:?} has no view"),
    }
}

#[test]
fn what_was_committed_is_there_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let groups = [
        group(1, vec![submitted(1), submitted(2)]),
        group(
            2,
            vec![partial(1, 0, 5, b"five"), partial(1, 0, 4, b"four")],
        ),
        group(
            3,
            vec![partial(1, 1, 2, b"four, five"), partial(2, 3, 9, b"")],
        ),
        group(4, vec![partial(1, 2, 0, b"0..4"), submitted(3), done(3, 9)]),
        group(
            5,
            vec![Record::Prefix {
                job: JobId(1),
                task: 4,
                len: 77,
            }],
        ),
    ];
    let mut model = Model::default();
    for group in &groups {
        wait(journal.commit(Arc::clone(group))).unwrap();
        group
            .records
            .iter()
            .for_each(|record| model.carry_out(record));
        assert_eq!(Model::of(&journal), model);
    }
    assert_eq!(model.running[&JobId(1)].partials.len(), 1, "4..6 is left");
    drop(journal);
    assert!(
        !folder.path().join("journal.sqlite-wal").exists(),
        "all is in the file"
    );
    assert_eq!(Model::of(&open(folder.path())), model);
}

#[test]
fn jobs_are_found_by_id_by_page_and_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let records: Vec<_> = (1..=5).map(submitted).collect();
    let views: Vec<_> = records.iter().map(view_of).collect();
    wait(journal.commit(group(1, records))).unwrap();
    let job = |id| wait(journal.job(JobId(id))).unwrap();
    assert_eq!(job(4).as_ref(), Some(&views[3]));
    assert_eq!((job(6), job(0), job(u64::MAX)), (None, None, None));
    let page = |before, limit| wait(journal.page(before, limit)).unwrap();
    assert_eq!(page(None, 2), [views[4].clone(), views[3].clone()]);
    assert_eq!(
        page(Some(JobId(3)), 9),
        [views[1].clone(), views[0].clone()]
    );
    assert_eq!(page(Some(JobId(u64::MAX)), 1), [views[4].clone()]);
    assert_eq!(page(Some(JobId(1)), 9), []);
    let by_key = |key| wait(journal.by_key(key)).unwrap();
    assert_eq!(by_key("key 3").as_ref(), Some(&views[2]));
    assert_eq!(by_key("key 2"), None);
    // A job that is over keeps its key.
    wait(journal.commit(group(2, vec![done(3, 9)]))).unwrap();
    assert_eq!(by_key("key 3"), Some(view_of(&done(3, 9))));
}

#[test]
fn each_start_is_told_apart_and_no_id_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let identity = first.identity();
    assert_eq!(identity.incarnation, Incarnation(1));
    assert_eq!(identity.next_job, JobId(1));
    assert_ne!(identity.secret, [0; 32]);
    assert!(!format!("{identity:?}").contains("secret"));
    let ids = |next| Record::Ids { next: JobId(next) };
    let records = vec![ids(39), submitted(7), done(7, 1), submitted(6)];
    wait(first.commit(group(1, records))).unwrap();
    let none = Keep {
        jobs: Some(0),
        ..Keep::default()
    };
    assert_eq!(wait(first.retain(none, 0)).unwrap(), 1);
    drop(first);
    let second = open(folder.path()).identity();
    assert_eq!(second.incarnation, Incarnation(2));
    assert_eq!(second.secret, identity.secret);
    assert_eq!(
        second.next_job,
        JobId(39),
        "those of jobs that are not recorded too"
    );
    let third = open(folder.path());
    wait(third.commit(group(1, vec![ids(8)]))).unwrap();
    drop(third);
    assert_eq!(
        open(folder.path()).identity().next_job,
        JobId(8),
        "given back"
    );
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).identity().secret, identity.secret);
}

#[test]
fn blobs_are_needed_while_their_jobs_need_them() {
    let folder = tempfile::tempdir().unwrap();
    for journal in [
        &open(folder.path()) as &dyn Journal,
        &crate::journal::MemoryJournal::new(Incarnation(1)),
    ] {
        let used = || wait(journal.blobs_in_use()).unwrap();
        wait(journal.commit(group(1, vec![submitted(1), submitted(2)]))).unwrap();
        let shared = [hash("module"), hash("table")];
        let mut expected = BTreeSet::from(shared);
        expected.extend([hash("input 1"), hash("input 2")]);
        assert_eq!(used(), expected);
        wait(journal.commit(group(2, vec![done(1, 9)]))).unwrap();
        expected.remove(&hash("input 1"));
        expected.insert(hash("result 1"));
        assert_eq!(used(), expected);
        let mut cancelled = view(2);
        cancelled.state = JobState::Cancelled;
        let over = Record::Over {
            view: Arc::new(cancelled),
            result: None,
        };
        wait(journal.commit(group(3, vec![over]))).unwrap();
        assert_eq!(used(), BTreeSet::from([hash("result 1")]));
        let none = Keep {
            jobs: Some(0),
            ..Keep::default()
        };
        assert_eq!(wait(journal.retain(none, 0)).unwrap(), 2);
        assert_eq!(used(), BTreeSet::new());
    }
}

#[test]
fn a_small_result_is_kept_with_its_job_and_is_no_blob() {
    let folder = tempfile::tempdir().unwrap();
    for journal in [
        &open(folder.path()) as &dyn Journal,
        &crate::journal::MemoryJournal::new(Incarnation(1)),
    ] {
        let bytes = bytes::Bytes::from("small");
        let Record::Over { view, .. } = done(1, 5) else {
            unreachable!("the record of an end");
        };
        let result = Some(bytes.clone());
        let records = vec![submitted(1), submitted(2), Record::Over { view, result }];
        wait(journal.commit(group(1, records))).unwrap();
        let found = |job| wait(journal.result(JobId(job))).unwrap();
        assert_eq!(found(1), Some(bytes));
        assert_eq!(found(2), None);
        let used = wait(journal.blobs_in_use()).unwrap();
        assert!(!used.contains(&hash("result 1")));
        let none = Keep {
            jobs: Some(0),
            ..Keep::default()
        };
        assert_eq!(wait(journal.retain(none, 0)).unwrap(), 1);
        assert_eq!(found(1), None);
    }
}

#[test]
fn the_oldest_jobs_that_are_over_go_first() {
    let folder = tempfile::tempdir().unwrap();
    for journal in [
        &open(folder.path()) as &dyn Journal,
        &crate::journal::MemoryJournal::new(Incarnation(1)),
    ] {
        let mut records: Vec<_> = (1..=9).map(submitted).collect();
        // Job `id` ends at 1000 * id + 500, with 10 bytes; 5 runs on.
        records.extend([1, 2, 3, 4, 6, 7, 8, 9].map(|id| done(id, 10)));
        wait(journal.commit(group(1, records))).unwrap();
        let left = || -> Vec<u64> {
            let page = wait(journal.page(None, 99)).unwrap();
            page.iter().map(|view| view.id.0).collect()
        };
        let retain = |keep| wait(journal.retain(keep, 10_000)).unwrap();
        assert_eq!(retain(Keep::default()), 0);
        let keep = Keep {
            age_ms: Some(7_500),
            ..Keep::default()
        };
        assert_eq!(retain(keep), 1);
        assert_eq!(left(), [9, 8, 7, 6, 5, 4, 3, 2]);
        let keep = Keep {
            jobs: Some(6),
            ..Keep::default()
        };
        assert_eq!(retain(keep), 1);
        assert_eq!(left(), [9, 8, 7, 6, 5, 4, 3]);
        let keep = Keep {
            bytes: Some(39),
            ..Keep::default()
        };
        assert_eq!(retain(keep), 3);
        assert_eq!(left(), [9, 8, 7, 5], "what runs is not touched");
    }
}

#[test]
fn the_state_of_a_great_job_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    wait(journal.commit(group(1, vec![submitted(1)]))).unwrap();
    // Blocks of 8192 tasks, recorded in hundreds; every hundredth group merges
    // all that is there into as few nodes as it can be.
    let bytes = [7; 200];
    let (level, mut number) = (13, 1);
    for hundred in 0..1000 {
        let mut records: Vec<_> = (100 * hundred..100 * (hundred + 1))
            .map(|index| partial(1, level, index, &bytes))
            .collect();
        if hundred % 100 == 99 {
            let (end, mut at) = (100 * (hundred + 1), 0);
            while at < end {
                let up = (0..17)
                    .rev()
                    .find(|up| at % (1 << up) == 0 && at + (1 << up) <= end);
                let up = up.unwrap();
                records.push(partial(1, level + up, at >> up, &bytes));
                at += 1 << up;
            }
        }
        number += 1;
        wait(journal.commit(group(number, records))).unwrap();
    }
    let stored = wait(journal.stored()).unwrap();
    assert_eq!(stored[0].partials.len(), 100_000_u64.count_ones() as usize);
    let len = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(len("journal.sqlite") < 4 << 20, "{}", len("journal.sqlite"));
    assert!(
        len("journal.sqlite-wal") < 8 << 20,
        "{}",
        len("journal.sqlite-wal")
    );
}

#[test]
fn a_file_that_was_great_becomes_small_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let great = vec![1; 1 << 20];
    let mut records = vec![submitted(1)];
    records.extend((0..24).map(|index| partial(1, 0, index, &great)));
    wait(journal.commit(group(1, records))).unwrap();
    wait(journal.commit(group(2, vec![done(1, 1)]))).unwrap();
    // From 24 MiB on: in parts, and not to the last page.
    for mebibytes in [16, 8, 8] {
        wait(journal.retain(Keep::default(), 0)).unwrap();
        wait(journal.close());
        let len = std::fs::metadata(folder.path().join(FILE)).unwrap().len();
        assert_eq!(len >> 20, mebibytes, "{len} bytes");
        journal = open(folder.path());
    }
}

#[test]
fn what_comes_after_the_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let last = journal.commit(group(1, vec![submitted(1)]));
    wait(journal.close());
    wait(last).unwrap();
    let late = wait(journal.commit(group(2, vec![submitted(2)]))).unwrap_err();
    assert!(matches!(late, JournalError::Closed) && !late.may_pass());
    assert!(matches!(
        wait(journal.job(JobId(1))),
        Err(JournalError::Closed)
    ));
    wait(journal.close());
    let journal = open(folder.path());
    assert!(wait(journal.job(JobId(1))).unwrap().is_some());
    assert!(wait(journal.job(JobId(2))).unwrap().is_none());
}

#[test]
fn the_encoding_of_plans_changes_only_on_purpose() {
    // A file of today must be readable tomorrow: if this fails, write a step of
    // the schema that brings old plans into the new encoding.
    let bytes = postcard::to_stdvec(&plan(1)).unwrap();
    assert_eq!(bytes.len(), 236);
    assert_eq!(&BlobHash::of(&bytes).to_string()[..16], "0e4b03da71bc092b");
}
