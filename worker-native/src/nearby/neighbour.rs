//! Blobs that a coordinator of this machine hands over.

use super::{At, Source};
use crate::rooms::LARGE;
use manyhands_engine::neighbour::{BATCH, Neighbour};
use manyhands_protocol::BlobHash;

/// Asks for the files of large blobs. Small ones are sent sooner than handed over.
pub(super) struct Asker(Option<Neighbour>);

impl Asker {
    pub(super) fn new(neighbour: Neighbour) -> Self {
        Self(Some(neighbour))
    }
}

impl Source for Asker {
    const AT_ONCE: usize = BATCH;
    const LEAST: u64 = LARGE;

    fn look_for(&mut self, wanted: &[(BlobHash, u64)]) -> Vec<At> {
        let mut parts = Vec::new();
        if let Some(neighbour) = &mut self.0 {
            match neighbour.ask(wanted) {
                Ok(found) => parts = found,
                Err(error) => {
                    tracing::info!(
                        "the coordinator hands over no more files ({error}): it sends all \
                         inputs until this worker connects again"
                    );
                    self.0 = None;
                }
            }
        }
        parts.resize_with(wanted.len(), || None);
        let found = parts.into_iter();
        found
            .map(|part| part.map_or(At::Nowhere, At::File))
            .collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::nearby::Fetcher;
    use manyhands_engine::neighbour::Door;
    use manyhands_engine::part::FileRange;

    #[tokio::test]
    async fn large_blobs_are_handed_over_while_the_coordinator_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, vec![b'.'; 100_000]).unwrap();
        let [large, small, other] = [&b"large"[..], b"small", b"other"].map(BlobHash::of);
        let find = move |hash| {
            (hash != other).then(|| FileRange {
                file: path.clone().into(),
                offset: 100,
                len: LARGE,
            })
        };
        let door = Door::open(getrandom::u64().unwrap()).unwrap();
        let neighbour = Neighbour::connect(door.name()).await.unwrap();
        let door = tokio::spawn(door.serve(find));
        let mut fetcher = Fetcher::neighbour(neighbour).unwrap();
        let wanted = [(small, 10), (other, LARGE), (large, LARGE), (large, 70_000)];
        for (hash, len) in &wanted[1..] {
            fetcher.fetch(*hash, *len);
        }
        fetcher.fetch(small, 10);
        for (at, (hash, _)) in wanted.iter().enumerate() {
            let (found, part) = fetcher.next().await;
            assert_eq!(found, *hash, "in order");
            assert_eq!(matches!(part, At::File(_)), at == 2, "{at}: {part:?}");
        }
        door.abort();
        assert!(door.await.unwrap_err().is_cancelled());
        for _ in 0..2 {
            fetcher.fetch(large, LARGE);
            assert!(matches!(fetcher.next().await.1, At::Nowhere));
        }
    }
}
