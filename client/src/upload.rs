//! Uploading files as blobs: hashed first, and sent only if they are missing.

use crate::{Client, ClientError};
use bytes::Bytes;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::BlobView;
use reqwest::{Body, Method, StatusCode};
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

const CHUNK: usize = 256 << 10;

impl Client {
    /// Uploads a file, unless the coordinator has its bytes already. Memory
    /// does not grow with the file.
    ///
    /// # Errors
    /// When the file cannot be read, or changes meanwhile.
    pub async fn upload_file(&self, path: &Path) -> Result<BlobView, ClientError> {
        let read_error = |source| ClientError::Read {
            path: path.to_owned(),
            source,
        };
        let view = hash(path).await.map_err(read_error)?;
        if self.has_blob(view.hash).await? {
            return Ok(view);
        }
        let file = tokio::fs::File::open(path).await.map_err(read_error)?;
        let body = Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK));
        let stored: BlobView = self
            .json(self.request(Method::POST, "blobs")?.body(body))
            .await?;
        if stored != view {
            return Err(ClientError::Changed(path.to_owned()));
        }
        Ok(view)
    }

    /// Uploads bytes, unless the coordinator has them already.
    ///
    /// # Errors
    /// When the coordinator does not take them.
    pub async fn upload_bytes(&self, bytes: impl Into<Bytes>) -> Result<BlobView, ClientError> {
        let bytes = bytes.into();
        let hash = BlobHash::of(&bytes);
        if self.has_blob(hash).await? {
            let len = bytes.len() as u64;
            return Ok(BlobView { hash, len });
        }
        self.json(self.request(Method::POST, "blobs")?.body(bytes))
            .await
    }

    /// Whether the coordinator has a blob.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn has_blob(&self, hash: BlobHash) -> Result<bool, ClientError> {
        let request = self.request(Method::HEAD, &format!("blobs/{hash}"))?;
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            // An answer to HEAD has no body; one to GET says why.
            _ => self
                .send(self.request(Method::GET, &format!("blobs/{hash}"))?)
                .await
                .map(|_| true),
        }
    }
}

/// A file's hash and length, read once.
async fn hash(path: &Path) -> std::io::Result<BlobView> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut len = 0;
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            let hash = BlobHash(*hasher.finalize().as_bytes());
            return Ok(BlobView { hash, len });
        }
        hasher.update(&buffer[..read]);
        len += read as u64;
    }
}
