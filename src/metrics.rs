//! What a process counts and measures, in the text format of OpenMetrics 1.0.

mod connections;
mod leading;
mod low;
pub mod reports;
pub mod reservations;
mod spans;
mod store;
mod tls;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use reports::Reports;
use reservations::Reservations;

pub use connections::{Connections, TurnedAway};
pub use leading::{LeadingMetrics, Reconciled};
pub use low::{BudgetKind, Holder, LowMetrics};
pub use spans::{SpanMetrics, SpanOutcome};
pub use store::{OnStoreError, StoreMetrics, StoreOutcome};
pub use tls::{TlsFiles, TlsPort};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one process, all named `keyturn_*`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    clock_skew: Gauge<f64, std::sync::atomic::AtomicU64>,
    verdicts: Family<VerdictLabels, Counter>,
    would_deny: Family<VerdictLabels, Counter>,
    duration: Histogram,
    keys: Gauge,
    watch_age: Family<WatchLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    watch_failures: Family<WatchLabels, Counter>,
    ready: Gauge,
    key_events: Family<EventLabels, Counter>,
    pepper_keys: Family<PepperLabels, Gauge>,
    audit_lines: Family<ActionLabels, Counter>,
    audit_failures: Counter,
    expiring_keys: Family<ApiLabels, Gauge>,
    old_versions_in_use: Family<ApiLabels, Gauge>,
    usage_writes: Family<UsageLabels, Counter>,
    usage_backlog: Gauge,
    usage_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    leading: LeadingMetrics,
    low: LowMetrics,
    spans: SpanMetrics,
    store: StoreMetrics,
    /// Of the auth port.
    pub connections: Connections,
    reports: Reports,
    /// Of quotas and credits.
    pub reservations: Reservations,
    /// Of the ports that speak TLS.
    pub tls_files: TlsFiles,
}

/// Namespace and name of an API that exists. The label takes its values from custom resources only, so no
/// client can make up new ones.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ApiLabel(pub Option<(Arc<str>, Arc<str>)>);

impl EncodeLabelValue for ApiLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |(namespace, name)| write!(encoder, "{namespace}/{name}"))
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VerdictLabels {
    api: ApiLabel,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WatchLabels {
    kind: Cow<'static, str>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ApiLabels {
    api: ApiLabel,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UsageLabels {
    outcome: UsageWrite,
}

/// What became of an attempt to write what a key was used for.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum UsageWrite {
    Written,
    /// Somebody else was faster; tried again.
    Conflict,
    /// The key has no ApiKeyUsage; tried again as long as there is the key.
    Missing,
    /// Tried again.
    Failed,
    /// It may be written or not, and is not written again.
    GivenUp,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EventLabels {
    reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PepperLabels {
    pepper: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ActionLabels {
    action: &'static str,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("keyturn");
        let verdicts = Family::default();
        registry.register("verdicts", "Requests judged, by API and outcome", verdicts.clone());
        let would_deny = Family::default();
        let help = "Requests that passed only because their API is in audit mode, by API and what would refuse them";
        registry.register("would_deny", help, would_deny.clone());
        // 250 ns to 1 s: judging takes well below a microsecond, a starved processor milliseconds, and chunks of quotas
        // are waited for up to 250 ms.
        let duration = Histogram::new(exponential_buckets(250e-9, 4.0, 12));
        registry.register_with_unit("verify_duration", "Time spent judging", Unit::Seconds, duration.clone());
        let clock_skew = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        // Not zero as long as nothing is known.
        clock_skew.set(f64::NAN);
        let help = "By how much the clock is certainly ahead of the API server's, negative when behind; NaN: not known";
        registry.register_with_unit("clock_skew", help, Unit::Seconds, clock_skew.clone());
        let keys = Gauge::default();
        registry.register("index_keys", "Keys that are known", keys.clone());
        let watch_age = Family::default();
        let help = "Time since the last list, event or bookmark, by kind";
        registry.register_with_unit("watch_age", help, Unit::Seconds, watch_age.clone());
        let watch_failures = Family::default();
        let help = "Lists and watches that were interrupted and begun anew, by kind";
        registry.register("watch_failures", help, watch_failures.clone());
        let ready = Gauge::default();
        registry.register("ready", "1 if the process is ready", ready.clone());
        let key_events = Family::default();
        registry.register("key_events", "Events told about keys and owners, by reason", key_events.clone());
        let pepper_keys = Family::default();
        let help = "Keys with strings in use that are recognised by a pepper, by its name";
        registry.register("pepper_keys", help, pepper_keys.clone());
        let audit_lines = Family::default();
        registry.register("audit_lines", "Lines of the audit log, by action", audit_lines.clone());
        let audit_failures = Counter::default();
        let help = "Lines of the audit log that could not be written";
        registry.register("audit_failures", help, audit_failures.clone());
        let expiring_keys = Family::default();
        registry.register("expiring_keys", "Keys that expire within seven days, by API", expiring_keys.clone());
        let old_versions_in_use = Family::default();
        let help = "Keys with an old version that is still used shortly before it is refused, by API";
        registry.register("old_versions_in_use", help, old_versions_in_use.clone());
        let usage_writes = Family::default();
        registry.register("usage_writes", "Attempts to write the usage of keys, by outcome", usage_writes.clone());
        let usage_backlog = Gauge::default();
        registry.register("usage_backlog", "Keys whose usage is not written yet", usage_backlog.clone());
        let usage_age = Gauge::default();
        let help = "For how long the oldest usage has not been written";
        registry.register_with_unit("usage_age", help, Unit::Seconds, usage_age.clone());
        let leading = LeadingMetrics::register(&mut registry);
        let low = LowMetrics::register(&mut registry);
        let spans = SpanMetrics::register(&mut registry);
        let store = StoreMetrics::register(&mut registry);
        let connections = Connections::register(&mut registry);
        let reports = Reports::register(&mut registry);
        let reservations = Reservations::register(&mut registry);
        let tls_files = TlsFiles::register(&mut registry);
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", version);
        Self {
            registry,
            clock_skew,
            verdicts,
            would_deny,
            duration,
            keys,
            watch_age,
            watch_failures,
            ready,
            key_events,
            pepper_keys,
            audit_lines,
            audit_failures,
            expiring_keys,
            old_versions_in_use,
            usage_writes,
            usage_backlog,
            usage_age,
            leading,
            low,
            spans,
            store,
            connections,
            reports,
            reservations,
            tls_files,
        }
    }

    /// Those of the store of rate limits.
    #[must_use]
    pub fn store(&self) -> &StoreMetrics {
        &self.store
    }

    /// Those of what proxies report.
    #[must_use]
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Those of controllers.
    #[must_use]
    pub fn leading(&self) -> &LeadingMetrics {
        &self.leading
    }

    /// Those of traces.
    #[must_use]
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// Those of quotas and credits of which little is left.
    #[must_use]
    pub fn low(&self) -> &LowMetrics {
        &self.low
    }

    /// Counts one verdict. `code` is `ALLOWED` or the code of a denial.
    pub fn judged(&self, api: ApiLabel, code: &'static str, took: Duration) {
        self.verdicts.get_or_create(&VerdictLabels { api, code }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a request that audit mode has let pass. `code` is that of the denial.
    pub fn would_deny(&self, api: ApiLabel, code: &'static str) {
        self.would_deny.get_or_create(&VerdictLabels { api, code }).inc();
    }

    /// By how many seconds the clock is certainly ahead of the API server's; negative: behind.
    pub fn set_clock_skew(&self, ahead: f64) {
        self.clock_skew.set(ahead);
    }

    /// How many keys the index holds.
    pub fn set_keys(&self, count: usize) {
        self.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How long ago a kind's watch last said anything.
    pub fn set_watch_age(&self, kind: &'static str, age: Duration) {
        self.watch_age.get_or_create(&WatchLabels { kind: kind.into() }).set(age.as_secs_f64());
    }

    /// Counts a list or watch of a kind that was interrupted.
    pub fn watch_failed(&self, kind: Cow<'static, str>) {
        self.watch_failures.get_or_create(&WatchLabels { kind }).inc();
    }

    /// Whether the process is ready.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Counts one event about a key or an owner, by its reason in CamelCase, such as `RotationDue`.
    pub fn told(&self, reason: &str) {
        self.key_events.get_or_create(&EventLabels { reason: reason.to_owned() }).inc();
    }

    /// How many keys need the pepper of that name.
    pub fn set_pepper_keys(&self, pepper: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.pepper_keys.get_or_create(&PepperLabels { pepper: pepper.to_owned() }).set(count);
    }

    /// Counts one line of the audit log.
    pub fn audited(&self, action: &'static str) {
        self.audit_lines.get_or_create(&ActionLabels { action }).inc();
    }

    /// Counts one line of the audit log that could not be written.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// How many keys of an API expire soon, and how many have an old version that is used shortly before its end.
    pub fn set_notices(&self, api: ApiLabel, expiring: usize, old_in_use: usize) {
        let labels = ApiLabels { api };
        for (family, count) in [(&self.expiring_keys, expiring), (&self.old_versions_in_use, old_in_use)] {
            family.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts one attempt to write the usage of a key.
    pub fn usage_write(&self, outcome: UsageWrite) {
        self.usage_writes.get_or_create(&UsageLabels { outcome }).inc();
    }

    /// How many keys' usage is not written yet, and since when the oldest.
    pub fn set_usage_backlog(&self, keys: usize, age: Duration) {
        self.usage_backlog.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.usage_age.set(age.as_secs_f64());
    }

    /// Everything, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a value refuses to be written; none of ours does.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::reports::{Batch, ReportLine};
    use super::reservations::{Purpose, Reservation};
    use super::*;

    #[test]
    fn every_metric_is_written() {
        let metrics = Metrics::new();
        assert!(metrics.encode().unwrap().contains("keyturn_clock_skew_seconds NaN"), "what is not known is not 0");
        metrics.set_clock_skew(-6.5);
        metrics.judged(ApiLabel(Some(("speech".into(), "transcripts".into()))), "ALLOWED", Duration::from_nanos(300));
        metrics.judged(ApiLabel::default(), "API_NOT_FOUND", Duration::from_millis(2));
        metrics.would_deny(ApiLabel::default(), "REVOKED");
        metrics.set_keys(7);
        metrics.told("RotationDue");
        metrics.set_notices(ApiLabel(Some(("speech".into(), "transcripts".into()))), 2, 1);
        metrics.usage_write(UsageWrite::GivenUp);
        metrics.set_usage_backlog(3, Duration::from_millis(2500));
        metrics.reservations.attempt(Purpose::GiveBack, Reservation::Written);
        metrics.reservations.lost(5);
        metrics.reservations.set_waiting(2);
        metrics.reports().batch(Batch::Repeated);
        metrics.reports().lines(ReportLine::Unknown, 4);
        metrics.reports().bytes(512, 2048);
        metrics.set_pepper_keys("p1", 3);
        metrics.audited("Revoked");
        metrics.audit_failed();
        metrics.tls_files.set_usable(TlsPort::Grpc, false);
        metrics.connections.opened();
        metrics.connections.turned_away(TurnedAway::Peer);
        metrics.store().answered(StoreOutcome::TimedOut, Duration::from_millis(100));
        metrics.store().set(3, true);
        metrics.store().unanswered(OnStoreError::Local);
        metrics.low().set(Holder::Owner, BudgetKind::Quota, 2);
        metrics.low().set_waiting(4);
        metrics.leading().set_leads(true);
        metrics.leading().reconciled(Reconciled::Failed, Duration::from_millis(7));
        metrics.leading().set_keys("Active", 9);
        metrics.leading().set_overdue(8);
        metrics.watch_failed("apikeys".into());
        metrics.set_ready(true);
        metrics.spans().add(SpanOutcome::Dropped, 6);
        metrics.set_watch_age("ApiKey", Duration::from_millis(1500));
        let text = metrics.encode().unwrap();
        for line in [
            r#"keyturn_verdicts_total{api="speech/transcripts",code="ALLOWED"} 1"#,
            r#"keyturn_verdicts_total{api="",code="API_NOT_FOUND"} 1"#,
            "keyturn_verify_duration_seconds_count 2",
            r#"keyturn_verify_duration_seconds_bucket{le="2.5e-7"} 0"#,
            r#"keyturn_would_deny_total{api="",code="REVOKED"} 1"#,
            "keyturn_clock_skew_seconds -6.5",
            "keyturn_index_keys 7",
            r#"keyturn_key_events_total{reason="RotationDue"} 1"#,
            r#"keyturn_usage_writes_total{outcome="GivenUp"} 1"#,
            r#"keyturn_expiring_keys{api="speech/transcripts"} 2"#,
            r#"keyturn_old_versions_in_use{api="speech/transcripts"} 1"#,
            r#"keyturn_store_requests_total{outcome="TimedOut"} 1"#,
            "keyturn_store_duration_seconds_count 1",
            "keyturn_store_waiting 3",
            r#"keyturn_store_unanswered_total{action="Local"} 1"#,
            r#"keyturn_low_budgets{holder="Owner",kind="Quota"} 2"#,
            "keyturn_ledgers_waiting 4",
            "keyturn_leading 1",
            r#"keyturn_reconciles_total{outcome="Failed"} 1"#,
            "keyturn_reconcile_duration_seconds_count 1",
            r#"keyturn_keys{state="Active"} 9"#,
            "keyturn_rotations_overdue 8",
            r#"keyturn_watch_failures_total{kind="apikeys"} 1"#,
            "keyturn_ready 1",
            r#"keyturn_spans_total{outcome="Dropped"} 6"#,
            "keyturn_store_connected 1",
            "keyturn_usage_backlog 3",
            "keyturn_usage_age_seconds 2.5",
            r#"keyturn_reservations_total{purpose="GiveBack",outcome="Written"} 1"#,
            "keyturn_reservations_lost_total 5",
            "keyturn_reservations_waiting 2",
            r#"keyturn_report_batches_total{outcome="Repeated"} 1"#,
            r#"keyturn_report_lines_total{outcome="Unknown"} 4"#,
            r#"keyturn_report_bytes_total{direction="In"} 512"#,
            r#"keyturn_report_bytes_total{direction="Out"} 2048"#,
            r#"keyturn_pepper_keys{pepper="p1"} 3"#,
            r#"keyturn_audit_lines_total{action="Revoked"} 1"#,
            "keyturn_audit_failures_total 1",
            r#"keyturn_tls_files_unusable{port="Grpc"} 1"#,
            "keyturn_connections 1",
            r#"keyturn_turned_away_total{reason="Peer"} 1"#,
            r#"keyturn_watch_age_seconds{kind="ApiKey"} 1.5"#,
            concat!("keyturn_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
        }
    }
}
