//! What `/metrics` shows, in the text format that Prometheus reads.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All counters and gauges: cheap to count, whoever holds them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) workers: Gauge,
    pub(crate) slots: Gauge,
    pub(crate) jobs: Gauge,
    pub(crate) jobs_submitted: Counter,
    pub(crate) grants: Counter,
    pub(crate) partials: Counter,
    pub(crate) partial_bytes: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) failures: Counter,
    pub(crate) merges: Counter,
    pub(crate) leased_merges: Counter,
    pub(crate) recorded: Counter,
    pub(crate) journaled_bytes: Counter,
    pub(crate) commits: Counter,
    pub(crate) blob_bytes: Counter,
    pub(crate) shared_bytes: Counter,
    pub(crate) refused: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("manyhands");
        Self {
            workers: gauge(&mut registry, "workers", "Workers connected"),
            slots: gauge(
                &mut registry,
                "slots",
                "Threads of workers that may compute",
            ),
            jobs: gauge(&mut registry, "jobs", "Jobs that are not over"),
            jobs_submitted: counter(&mut registry, "jobs_submitted", "Jobs submitted"),
            grants: counter(&mut registry, "grants", "Leases granted"),
            partials: counter(
                &mut registry,
                "partials",
                "Partials that became part of a result",
            ),
            partial_bytes: counter(&mut registry, "partial_bytes", "Bytes of partials received"),
            duplicates: counter(
                &mut registry,
                "duplicates",
                "Partials that were there already",
            ),
            failures: counter(
                &mut registry,
                "failures",
                "Failures of guests that workers told of",
            ),
            merges: counter(&mut registry, "merges", "Merges of partials, by whomever"),
            leased_merges: counter(
                &mut registry,
                "leased_merges",
                "Merges that workers were asked for",
            ),
            recorded: counter(
                &mut registry,
                "recorded",
                "Partials that were worth a record in the journal",
            ),
            journaled_bytes: counter(
                &mut registry,
                "journaled_bytes",
                "Bytes of partials written to the journal",
            ),
            commits: counter(
                &mut registry,
                "commits",
                "Groups of records given to the journal",
            ),
            blob_bytes: counter(
                &mut registry,
                "blob_bytes",
                "Bytes of blobs sent to workers",
            ),
            shared_bytes: counter(
                &mut registry,
                "shared_bytes",
                "Bytes of inputs that workers of this machine asked for, to read them in place",
            ),
            refused: counter(
                &mut registry,
                "refused",
                "Connections ended for what came on them",
            ),
            registry,
        }
    }

    /// The page that Prometheus fetches.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all");
        text
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}
