//! Going on over a connection that broke or a coordinator that starts anew:
//! how long to wait between attempts, and when to give up. What is attempted is
//! elsewhere, and is harmless to do twice.

use crate::ClientError;
use std::time::{Duration, Instant};

/// How long [`persist`] goes on, as a rule: longer than a coordinator takes to
/// be started anew.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The mean pause before the second attempt; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Does `attempt` until it succeeds, fails for good, or has failed for
/// `patience` without getting anywhere. `told` hears of each failure that is
/// followed by another attempt.
///
/// ```no_run
/// # async fn example(client: manyhands_client::Client, file: std::path::PathBuf)
/// # -> Result<(), manyhands_client::ClientError> {
/// use manyhands_client::{PATIENCE, persist};
/// let blob = persist(PATIENCE, |error| eprintln!("{error}"), async || {
///     client.upload_file(&file).await
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The last attempt's.
pub async fn persist<T>(
    patience: Duration,
    mut told: impl FnMut(&ClientError),
    mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut pauses = Pauses::default();
    let mut failing_since = Instant::now();
    loop {
        let begun = Instant::now();
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if !error.may_pass() => return Err(error),
            Err(error) => error,
        };
        // What lasted longer than any pause was reached and got somewhere.
        if begun.elapsed() > LONGEST {
            failing_since = Instant::now();
            pauses = Pauses::default();
        }
        if failing_since.elapsed() >= patience {
            return Err(error);
        }
        told(&error);
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Pauses that double, each drawn from half its length to all of it: many that
/// lost the same coordinator do not come back at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    doubled: u32,
}

impl Pauses {
    pub(crate) fn next(&mut self) -> Duration {
        let whole = (FIRST * 2u32.pow(self.doubled)).min(LONGEST);
        self.doubled = (self.doubled + 1).min(8);
        let mut random = [0; 4];
        // Without randomness the pauses are merely regular.
        let _ = getrandom::fill(&mut random);
        let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        whole.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn cut() -> ClientError {
        ClientError::Cut {
            url: "http://lab/".into(),
            reason: "connection reset".into(),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pauses = Pauses::default();
        for whole in [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000] {
            let pause = pauses.next().as_millis();
            assert!(
                (whole / 2 - 1..=whole).contains(&pause),
                "{pause} of {whole}"
            );
        }
    }

    #[tokio::test]
    async fn what_was_cut_is_tried_again_until_it_is_done() {
        let (left, told) = (Cell::new(2), Cell::new(0));
        let done = persist(
            PATIENCE,
            |_| told.set(told.get() + 1),
            async || match left.replace(left.get() - 1) {
                0 => Ok("done"),
                _ => Err(cut()),
            },
        );
        assert_eq!(done.await.unwrap(), "done");
        assert_eq!(told.get(), 2);
    }

    #[tokio::test]
    async fn what_cannot_pass_is_tried_once() {
        let tried = Cell::new(0);
        let outcome = persist(
            PATIENCE,
            |_| {},
            async || {
                tried.set(tried.get() + 1);
                Err::<(), _>(ClientError::Url("x".into()))
            },
        );
        assert!(matches!(outcome.await, Err(ClientError::Url(_))));
        assert_eq!(tried.get(), 1);
    }

    #[tokio::test]
    async fn patience_ends() {
        let outcome = persist(Duration::ZERO, |_| {}, async || Err::<(), _>(cut()));
        assert!(matches!(outcome.await, Err(ClientError::Cut { .. })));
    }
}
