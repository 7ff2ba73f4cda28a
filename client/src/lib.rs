//! The coordinator's HTTP API as a Rust library: uploads, submissions, watching,
//! results. Holds no state but the connection; scheduling is elsewhere.

mod download;
mod error;
mod events;
mod retry;
mod upload;

pub use download::Download;
use error::Answer;
pub use error::{ClientError, plain};
pub use events::{News, Watch};
use manyhands_protocol::api::{
    JobPage, JobState, JobView, ModuleView, Status, Submission, Waited, WorkerPage, WorkerView,
};
use manyhands_protocol::{BlobHash, JobId, WorkerId};
use reqwest::{Method, RequestBuilder, Response, Url};
pub use retry::{PATIENCE, persist};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::AsyncWrite;

/// How long a coordinator may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the system asks whether the other
/// side is still there: a machine that vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A coordinator, as a program uses it. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), manyhands_client::ClientError> {
/// use manyhands_client::Client;
/// let client = Client::new("http://127.0.0.1:7272", None)?;
/// println!("{} workers", client.status().await?.workers);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
}

impl Client {
    /// For the coordinator at `url`, with the key it printed, where it needs
    /// one. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Url`] when `url` is none, [`ClientError::Encrypted`] when
    /// it begins with `https://`.
    pub fn new(url: &str, key: Option<String>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(url.to_owned());
        let with_scheme = match url.contains("://") {
            true => url.to_owned(),
            false => format!("http://{url}"),
        };
        let mut base = Url::parse(&with_scheme).map_err(|_| wrong())?;
        if base.scheme() == "https" {
            return Err(ClientError::Encrypted(url.to_owned()));
        }
        if base.scheme() != "http" || base.host().is_none() {
            return Err(wrong());
        }
        // A link for volunteers may have a path or a query; the API does not.
        base.set_path("/");
        base.set_query(None);
        base.set_fragment(None);
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_nodelay(true)
            // A proxy of the outside world does not know a laptop's port.
            .no_proxy()
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, base, key })
    }

    /// The coordinator's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Uploads a module, which the coordinator checks.
    ///
    /// # Errors
    /// `bad_module`, with the reason, when it is not admitted.
    pub async fn upload_module(&self, wasm: Vec<u8>) -> Result<ModuleView, ClientError> {
        let request = self.request(Method::POST, "modules")?.body(wasm);
        self.json(request).await
    }

    /// Submits a job whose module, inputs and files were uploaded before. With a
    /// [`Submission::key`] it may be submitted again when the answer was lost.
    ///
    /// # Errors
    /// `bad_params`, in the guest's own words; `bad_input`, `bad_module`,
    /// `no_space`.
    pub async fn submit(&self, submission: &Submission) -> Result<JobView, ClientError> {
        let request = self.request(Method::POST, "jobs")?.json(submission);
        self.json(request).await
    }

    /// As [`submit`](Self::submit), and waits for the job's end, at most so long:
    /// one round trip for a short job, with its result if that is small
    /// ([`Waited::bytes`]).
    ///
    /// # Errors
    /// As [`submit`](Self::submit); [`ClientError::Damaged`] when what came is
    /// not the job's result.
    pub async fn submit_and_wait(
        &self,
        submission: &Submission,
        wait: Duration,
    ) -> Result<Waited, ClientError> {
        let request = self.request(Method::POST, "jobs")?.json(submission);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let waited: Waited = self.json(request.query(&[("wait_ms", wait_ms)])).await?;
        if let (JobState::Done { hash, .. }, Some(_)) = (&waited.job.state, &waited.result)
            && waited.bytes().map(|bytes| BlobHash::of(&bytes)) != Some(*hash)
        {
            return Err(ClientError::Damaged(waited.job.id));
        }
        Ok(waited)
    }

    /// One job, as it stands.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn job(&self, job: JobId) -> Result<JobView, ClientError> {
        self.json(self.request(Method::GET, &format!("jobs/{job}"))?)
            .await
    }

    /// One page of jobs, the newest first.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn jobs(&self, before: Option<JobId>, limit: usize) -> Result<JobPage, ClientError> {
        let mut request = self
            .request(Method::GET, "jobs")?
            .query(&[("limit", limit)]);
        if let Some(before) = before {
            request = request.query(&[("before", before.0)]);
        }
        self.json(request).await
    }

    /// Takes a job back; one that is over stays as it is.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn cancel(&self, job: JobId) -> Result<JobView, ClientError> {
        self.json(self.request(Method::POST, &format!("jobs/{job}/cancel"))?)
            .await
    }

    /// One page of workers, in the order in which they joined, as they stand.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn workers(
        &self,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage, ClientError> {
        let mut request = self
            .request(Method::GET, "workers")?
            .query(&[("limit", limit)]);
        if let Some(after) = after {
            request = request.query(&[("after", after.0)]);
        }
        self.json(request).await
    }

    /// One worker, as it stands.
    ///
    /// # Errors
    /// `not_found`, also once it has left.
    pub async fn worker(&self, worker: WorkerId) -> Result<WorkerView, ClientError> {
        self.json(self.request(Method::GET, &format!("workers/{worker}"))?)
            .await
    }

    /// The coordinator at a glance.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(self.request(Method::GET, "status")?).await
    }

    /// Watches a job until it is over, whoever is started anew meanwhile.
    #[must_use]
    pub fn watch(&self, job: JobId) -> Watch {
        Watch::new(self.clone(), job)
    }

    /// Fetches a job's result, in as many pieces as it takes.
    #[must_use]
    pub fn download(&self, job: JobId) -> Download {
        Download::new(self.clone(), job)
    }

    /// Writes a result to `out` as it comes; the number of its bytes. Goes on
    /// where it stopped when the connection breaks.
    ///
    /// # Errors
    /// `not_done` when there is none (yet); [`ClientError::Damaged`] when what
    /// came is not the job's result.
    pub async fn result(
        &self,
        job: JobId,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, ClientError> {
        let mut download = self.download(job);
        persist(PATIENCE, |_| {}, async || download.write_to(out).await).await
    }

    /// What is there of a result from `from` on; while a `concat` job runs, a
    /// part of its prefix.
    ///
    /// # Errors
    /// `not_done` when nothing can be there.
    pub async fn result_from(&self, job: JobId, from: u64) -> Result<bytes::Bytes, ClientError> {
        let request = self.request(Method::GET, &format!("jobs/{job}/result"))?;
        let response = self.send(request.query(&[("from", from)])).await?;
        response.bytes().await.map_err(|error| self.broken(&error))
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let url = self.base.join("/api/v1/").and_then(|api| api.join(path));
        let url = url.map_err(|_| ClientError::Url(self.base.to_string()))?;
        let request = self.http.request(method, url);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    }

    /// Sends a request; an answer that is not a success is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broken(&error))?;
        Err(Answer {
            status,
            body: &body,
        }
        .into_error(self.url()))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::NotManyhands(self.base.to_string()))
    }

    fn broken(&self, error: &reqwest::Error) -> ClientError {
        ClientError::broken(self.url(), error)
    }
}

/// A [`Submission::key`]: 128 random bits in hexadecimal digits.
///
/// # Panics
/// When the system gives no random bytes.
#[must_use]
pub fn random_key() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system gives random bytes");
    format!("{:032x}", u128::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let base = |url| {
            Client::new(url, None)
                .map(|client| client.url().to_owned())
                .ok()
        };
        assert_eq!(
            base("127.0.0.1:7272").as_deref(),
            Some("http://127.0.0.1:7272/")
        );
        assert_eq!(base("http://lab:80/#key=x").as_deref(), Some("http://lab/"));
        assert_eq!(base("https://lab"), None);
        assert_eq!(base("http://"), None);
        let error = Client::new("https://lab/", None).unwrap_err().to_string();
        assert!(
            error.starts_with("https://lab/: encrypted connections are not supported yet"),
            "{error}"
        );
        let error = Client::new("ftp://x", None).unwrap_err().to_string();
        assert_eq!(
            error,
            "\"ftp://x\" is not the address of a coordinator, such as http://127.0.0.1:7272"
        );
    }

    #[tokio::test]
    async fn an_unreachable_coordinator_is_one_line_that_says_what_to_do() {
        // Bound and not listening any more: nobody answers there.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let client = Client::new(&free.to_string(), None).unwrap();
        let error = client.status().await.unwrap_err().to_string();
        let expected = format!("no coordinator answers at http://{free}/: ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(
            error.ends_with("start one with `manyhands coordinator`"),
            "{error}"
        );
        assert!(
            !error.contains('\n') && !error.contains("os error"),
            "{error}"
        );
    }
}
