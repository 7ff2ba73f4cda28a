//! Blobs and growing results on real disks.

mod full;
pub(crate) mod tiny_disk;

use super::*;
use manyhands_protocol::JobId;
use std::collections::BTreeSet;
use std::time::Duration;

fn open(folder: &Path) -> Arc<Blobs> {
    Arc::new(Blobs::open(folder, 1 << 20, Durability::Synced).unwrap())
}

fn files_under(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files_under(&entry.path()),
            false => 1,
        })
        .sum()
}

fn age(path: &Path, by: Duration) {
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

async fn sweep(blobs: &Arc<Blobs>, used: BTreeSet<BlobHash>) -> u64 {
    let blobs = Arc::clone(blobs);
    let sweep = move || blobs.sweep(|hash| used.contains(&hash), HOUR).unwrap();
    tokio::task::spawn_blocking(sweep).await.unwrap().blobs
}

#[tokio::test]
async fn a_blob_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let hash = BlobHash::of(b"abcdef");
    let mut staging = blobs.stage().await.unwrap();
    staging.write(b"abc").await.unwrap();
    staging.write(b"def").await.unwrap();
    assert_eq!(blobs.head(hash).await.unwrap(), None);
    let view = staging.commit().await.unwrap();
    assert_eq!(view, BlobView { hash, len: 6 });
    let place = blobs.needed(hash).await.unwrap();
    assert_eq!(place.read(2, 3).await.unwrap(), "cde");
    assert_eq!(blobs.put(b"abcdef").await.unwrap(), view);
    // Beside the blob there is the lock.
    assert_eq!(files_under(folder.path()), 2);
}

#[tokio::test]
async fn where_nothing_is_synced_a_blob_makes_its_folder_itself() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path(), 1 << 20, Durability::Unsynced).unwrap();
    let blobs = Arc::new(blobs);
    let folders = || {
        std::fs::read_dir(folder.path().join(BLOBS))
            .unwrap()
            .count()
    };
    assert_eq!(folders(), 0);
    let put = blobs.put(b"abc").await.unwrap();
    let mut output = blobs.output(JobId(1), 0).await.unwrap();
    output.write(b"defg").await.unwrap();
    let result = output.commit().await.unwrap();
    assert_eq!(folders(), 2, "of the two hashes");
    for (view, bytes) in [(put, "abc"), (result, "defg")] {
        let place = blobs.needed(view.hash).await.unwrap();
        assert_eq!(blobs.read(&place).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn what_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path(), 8, Durability::Unsynced).unwrap();
    let blobs = Arc::new(blobs);
    let mut staging = blobs.stage().await.unwrap();
    staging.write(b"12345678").await.unwrap();
    let refused = staging.write(b"9").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "more than 8 bytes, which is the most this coordinator takes"
    );
    drop(staging);
    assert_eq!(files_under(folder.path()), 1, "the lock");
}

#[tokio::test]
async fn a_folder_has_one_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let scratch = first.stage().await.unwrap();
    let second = Blobs::open(folder.path(), 8, Durability::Synced).unwrap_err();
    assert_eq!(
        second.to_string(),
        format!(
            "another coordinator uses the folder {}",
            folder.path().display()
        )
    );
    assert_eq!(files_under(folder.path()), 2, "what is on its way stays");
    drop((scratch, first));
    open(folder.path());
}

#[tokio::test]
async fn a_missing_blob_is_named_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).needed(BlobHash([7; 32])).await;
    let root = folder.path().canonicalize().unwrap();
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "blob {} is missing from the data folder {}",
            "07".repeat(32),
            root.display()
        )
    );
}

#[tokio::test]
async fn what_is_old_and_not_used_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let mut hashes = Vec::new();
    for bytes in ["used", "old", "young", "stored again", "read"] {
        let hash = blobs.put(bytes.as_bytes()).await.unwrap().hash;
        age(&blobs.path(hash), HOUR + Duration::from_secs(9));
        hashes.push(hash);
    }
    let [used, old, young, again, read] = hashes[..] else {
        unreachable!("five blobs")
    };
    age(&blobs.path(young), HOUR - Duration::from_secs(9));
    blobs.put(b"stored again").await.unwrap();
    let reader = blobs.get(read).await.unwrap().unwrap();
    let stranger = blobs.root.join("blobs/00/notes.txt");
    std::fs::write(&stranger, "not a blob").unwrap();
    age(&stranger, 2 * HOUR);

    assert_eq!(sweep(&blobs, BTreeSet::from([used])).await, 2);
    assert_eq!(blobs.head(old).await.unwrap(), None);
    assert_eq!(blobs.head(read).await.unwrap(), None);
    assert_eq!(reader.bytes().await.unwrap(), "read", "a reader reads on");
    for hash in [used, young, again] {
        assert!(blobs.head(hash).await.unwrap().is_some());
    }
    assert!(stranger.exists(), "what is no blob is not ours");
    assert_eq!(blobs.renew(old).await.unwrap(), None);
}

#[tokio::test]
async fn a_growing_result_outlives_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let mut output = blobs.output(JobId(5), 0).await.unwrap();
    output.write(b"synced, ").await.unwrap();
    assert_eq!(output.sync().await.unwrap(), 8);
    output.write(b"and this is not").await.unwrap();
    output.flush().await.unwrap();
    assert_eq!(
        std::fs::read(output.path()).unwrap(),
        b"synced, and this is not"
    );
    drop(output);
    drop(blobs);

    let blobs = open(folder.path());
    let mut output = blobs.output(JobId(5), 8).await.unwrap();
    output.write(b"then goes on").await.unwrap();
    let view = output.commit().await.unwrap();
    let whole = b"synced, then goes on";
    assert_eq!(view.hash, BlobHash::of(whole));
    assert_eq!(view.len, whole.len() as u64);
    let place = blobs.needed(view.hash).await.unwrap();
    assert_eq!(place.read(0, whole.len()).await.unwrap(), &whole[..]);
    drop(output);
    blobs.drop_output(JobId(5)).await.unwrap();
    blobs.drop_output(JobId(5)).await.unwrap();
    assert_eq!(files_under(folder.path()), 2, "the blob and the lock");
}

#[tokio::test]
async fn a_result_that_the_journal_does_not_know_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let mut output = blobs.output(JobId(5), 0).await.unwrap();
    output.write(b"whole").await.unwrap();
    let view = output.commit().await.unwrap();
    drop(output);
    // The process dies before the journal has it. The prefix that it has is
    // shorter; the blob stays as it is nevertheless.
    let mut output = blobs.output(JobId(5), 3).await.unwrap();
    assert_eq!(std::fs::read(output.path()).unwrap(), b"who");
    let place = blobs.needed(view.hash).await.unwrap();
    assert_eq!(place.read(0, 5).await.unwrap(), "whole");
    output.write(b"le").await.unwrap();
    assert_eq!(output.commit().await.unwrap(), view);
    assert_eq!(files_under(&blobs.root.join("outputs")), 1);
}

#[tokio::test]
async fn a_result_that_lost_bytes_is_reported_and_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let mut output = blobs.output(JobId(9), 0).await.unwrap();
    output.write(b"abc").await.unwrap();
    output.sync().await.unwrap();
    let error = blobs.output(JobId(9), 4).await.err().unwrap().to_string();
    let root = folder.path().canonicalize().unwrap();
    let expected = format!(
        "the data folder {} has 3 bytes of job 9's result; 4 were there",
        root.display()
    );
    assert_eq!(error, expected);
    assert_eq!(std::fs::read(output.path()).unwrap(), b"abc", "still there");
    let mut output = blobs.output(JobId(9), 0).await.unwrap();
    assert_eq!(output.flush().await.unwrap(), 0);
    assert_eq!(std::fs::read(output.path()).unwrap(), b"");
}

#[tokio::test]
async fn great_and_small_parts_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let mut output = blobs.output(JobId(1), 0).await.unwrap();
    let mut expected = Vec::new();
    for len in [1_usize, 300_000, 5, 262_144, 0, 262_143, 2] {
        let part: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        output.write(&part).await.unwrap();
        expected.extend(part);
    }
    let too_large = output.write(&vec![0; 1 << 20]).await.unwrap_err();
    assert!(matches!(too_large, BlobError::TooLarge(_)));
    let view = output.commit().await.unwrap();
    assert_eq!(view.hash, BlobHash::of(&expected));
    assert_eq!(std::fs::read(output.path()).unwrap(), expected);
}

#[tokio::test]
async fn results_of_jobs_that_are_not_there_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    for job in [1, 2, 3] {
        let mut output = blobs.output(JobId(job), 0).await.unwrap();
        output.write(b"part").await.unwrap();
        output.sync().await.unwrap();
    }
    blobs.retain_outputs(&BTreeSet::from([JobId(2)])).unwrap();
    assert_eq!(files_under(&blobs.root.join("outputs")), 1);
    blobs.output(JobId(2), 4).await.unwrap();
    let gone = blobs.output(JobId(1), 4).await.err().unwrap();
    assert!(matches!(gone, BlobError::Short { found: 0, .. }), "{gone}");
}
