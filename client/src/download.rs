//! Downloading a result: written on as it comes, taken up where it stopped when
//! the connection broke, and compared with the job's hash at the end.

use crate::{Client, ClientError};
use futures_util::StreamExt;
use manyhands_protocol::api::JobState;
use manyhands_protocol::{BlobHash, JobId};
use reqwest::Method;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// How long the coordinator may be silent in the middle of a result.
const SILENCE: Duration = Duration::from_secs(30);

/// A result on its way.
///
/// [`write_to`](Self::write_to) is called until it succeeds or fails for good;
/// with the same writer each time, which has what came before.
pub struct Download {
    client: Client,
    job: JobId,
    hasher: blake3::Hasher,
    len: u64,
}

impl Download {
    pub(crate) fn new(client: Client, job: JobId) -> Self {
        Self {
            client,
            job,
            hasher: blake3::Hasher::new(),
            len: 0,
        }
    }

    /// Writes what is still missing; the length of the whole.
    ///
    /// # Errors
    /// When one [may pass](ClientError::may_pass), calling again goes on where
    /// this stopped. `not_done` when there is no result (yet);
    /// [`ClientError::Damaged`] when what came is not the job's result.
    pub async fn write_to(
        &mut self,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, ClientError> {
        let path = format!("jobs/{}/result", self.job);
        let expected = loop {
            if let JobState::Done { len, hash } = self.client.job(self.job).await?.state {
                break (len, hash);
            }
            // The coordinator has the words for why there is none; unless there
            // is one by now.
            let request = self.client.request(Method::GET, &path)?;
            self.client.send(request).await?;
        };
        let request = self.client.request(Method::GET, &path)?;
        let request = request.query(&[("from", self.len)]);
        let response = self.client.send(request).await?;
        let mut body = response.bytes_stream();
        while let Some(piece) = self.in_time(body.next()).await? {
            let piece = piece.map_err(|error| self.client.broken(&error))?;
            out.write_all(&piece).await.map_err(ClientError::Write)?;
            self.hasher.update(&piece);
            self.len += piece.len() as u64;
        }
        out.flush().await.map_err(ClientError::Write)?;
        if expected != (self.len, BlobHash(*self.hasher.finalize().as_bytes())) {
            return Err(ClientError::Damaged(self.job));
        }
        Ok(self.len)
    }

    async fn in_time<T>(&self, piece: impl Future<Output = T>) -> Result<T, ClientError> {
        let silent = |_| ClientError::Cut {
            url: self.client.url().to_owned(),
            reason: format!("nothing came for {} s", SILENCE.as_secs()),
        };
        tokio::time::timeout(SILENCE, piece).await.map_err(silent)
    }
}
