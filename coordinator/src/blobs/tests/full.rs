//! Blobs on a full disk.

use super::tiny_disk;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn full(disk: &Path) -> String {
    let root = disk.canonicalize().unwrap();
    format!(
        "no space is left in the data folder {}: free some and try again",
        root.display()
    )
}

#[test]
fn a_blob_without_space_says_so_and_can_be_stored_later() {
    tiny_disk::run(
        module_path!(),
        "a_blob_without_space_says_so_and_can_be_stored_later",
        |disk| {
            runtime().block_on(async {
                let blobs = open(disk);
                let before = files_under(disk);
                let filler = tiny_disk::fill(disk, 64 << 10);
                let great = vec![7; 256 << 10];
                let error = blobs.put(&great).await.unwrap_err();
                assert_eq!(error.to_string(), full(disk));
                std::fs::remove_file(filler).unwrap();
                assert_eq!(files_under(disk), before, "no part of it is left");
                let view = blobs.put(&great).await.unwrap();
                let place = blobs.needed(view.hash).await.unwrap();
                assert_eq!(place.read(0, great.len()).await.unwrap(), great);
            });
        },
    );
}

#[test]
fn a_growing_result_waits_for_space() {
    tiny_disk::run(module_path!(), "a_growing_result_waits_for_space", |disk| {
        runtime().block_on(async {
            let blobs = open(disk);
            let mut output = blobs.output(JobId(1), 0).await.unwrap();
            let (first, second) = (vec![1; 300_001], vec![2; 300_002]);
            output.write(&first).await.unwrap();
            let filler = tiny_disk::fill(disk, 100 << 10);
            for _ in 0..2 {
                let error = output.write(&second).await.unwrap_err();
                assert_eq!(error.to_string(), full(disk));
                let len = std::fs::metadata(output.path()).unwrap().len();
                assert_eq!(len, 300_001, "no torn end");
            }
            std::fs::remove_file(filler).unwrap();
            output.write(&second).await.unwrap();
            let view = output.commit().await.unwrap();
            assert_eq!(view.hash, BlobHash::of(&[first, second].concat()));
        });
    });
}

#[test]
fn what_was_gathered_is_written_when_there_is_space() {
    tiny_disk::run(
        module_path!(),
        "what_was_gathered_is_written_when_there_is_space",
        |disk| {
            runtime().block_on(async {
                let blobs = open(disk);
                let mut output = blobs.output(JobId(1), 0).await.unwrap();
                let filler = tiny_disk::fill(disk, 0);
                output.write(b"small").await.unwrap();
                assert_eq!(output.sync().await.unwrap_err().to_string(), full(disk));
                assert_eq!(output.commit().await.unwrap_err().to_string(), full(disk));
                std::fs::remove_file(filler).unwrap();
                assert_eq!(output.sync().await.unwrap(), 5);
                assert_eq!(output.commit().await.unwrap().hash, BlobHash::of(b"small"));
            });
        },
    );
}

#[test]
fn a_read_only_folder_is_named() {
    tiny_disk::run(module_path!(), "a_read_only_folder_is_named", |disk| {
        tiny_disk::set_writable(disk, false);
        let error = Blobs::open(disk, 8, Durability::Synced).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the data folder {} cannot be written (Read-only file system (os error 30)): make \
                 it writable",
                disk.display()
            )
        );
    });
}
