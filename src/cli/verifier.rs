//! The judging part of a process: the feed fills the engine, the auth port asks it.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::counting::Store;
use super::grpc::Opened;
use super::options::Judging;
use super::reporting::ReportListener;
use super::{Error, listen};
use crate::clock::since_boot;
use crate::feed::{Feed, Options, ServerClock};
use crate::metrics::{Metrics, TlsPort};
use crate::spans::Spans;
use crate::transport::decisions::Decisions;
use crate::transport::grpc::{self, GrpcPort};
use crate::transport::health::Health;
use crate::transport::report::{self, ReportPort};
use crate::transport::server::{self, Admission, Drain};
use crate::transport::{self, AuthPort, Outside, renewal};
use crate::verify::gate::Watched;

/// A verifier that listens already and answers 503 until it is fed.
pub(super) struct Verifier {
    server_clock: ServerClock,
    feed: Arc<Feed>,
    /// `None`: rate limits are counted in memory.
    store: Option<Store>,
    metrics: Arc<Metrics>,
    decisions: Arc<Decisions>,
    listener: TcpListener,
    grpc: Option<Opened>,
    /// `None`: nobody reports here.
    reporting: Option<ReportListener>,
    admission: Admission,
    /// `None`: nothing is traced.
    spans: Option<Arc<Spans>>,
    drain: Drain,
    drain_delay: Duration,
}

impl Verifier {
    /// `server_clock` is told the time by `client`.
    pub(super) async fn new(
        client: Client,
        server_clock: ServerClock,
        namespace: Option<String>,
        operator_namespace: String,
        judging: Judging,
    ) -> Result<Self, Error> {
        let process = super::process_name();
        let metrics = Arc::new(Metrics::new());
        let store = judging.counting.store(Arc::clone(&metrics)).await.map_err(Error::Counting)?;
        let spans = judging.traces.spans(Arc::clone(&metrics)).await.map_err(Error::Traces)?;
        let options = Options {
            client,
            namespace,
            operator_namespace,
            process,
            max_staleness: judging.max_staleness,
            usage_interval: judging.usage_interval,
            limits_elsewhere: store.is_some(),
            metrics: Arc::clone(&metrics),
        };
        let reporting = judging.reporting.listener().await?;
        let listener = listen(judging.auth_listen).await?;
        let admission = judging.callers.admission(metrics.connections.clone());
        info!(address = %judging.auth_listen, "serving the auth port");
        let grpc = judging.grpc.open().await?;
        Ok(Self {
            server_clock,
            feed: Arc::new(Feed::new(options)),
            store,
            metrics,
            decisions: Arc::default(),
            listener,
            grpc,
            reporting,
            admission,
            spans,
            drain: Drain::default(),
            drain_delay: judging.drain_delay,
        })
    }

    /// What the health port tells of this verifier.
    pub(super) fn health(&self) -> Health {
        let feed = Arc::clone(&self.feed);
        let clock = self.server_clock.clone();
        let store = self.store.clone();
        let measure = move |metrics: &Metrics| {
            metrics.set_keys(feed.index().len());
            clock.certain_skew().into_iter().for_each(|ahead| metrics.set_clock_skew(ahead.as_secs_f64()));
            let now = since_boot();
            let ages = Watched::ALL.into_iter().filter_map(|kind| Some((kind.as_str(), feed.gate().age(kind, now)?)));
            ages.for_each(|(kind, age)| metrics.set_watch_age(kind, age));
            if let Some(Store { shared, .. }) = &store {
                metrics.store().set(shared.waiting(), shared.trouble().is_none());
            }
        };
        // No reason to be out of service: all processes would be at once.
        let store = self.store.clone();
        let remarks = move || {
            let trouble = store.iter().filter_map(|store| store.shared.trouble());
            trouble.map(|trouble| format!("rate limits: {trouble}")).collect()
        };
        Health {
            metrics: Arc::clone(&self.metrics),
            missing: Box::new(self.missing()),
            remarks: Box::new(remarks),
            measure: Box::new(measure),
            decisions: Some(Arc::clone(&self.decisions)),
        }
    }

    /// What is still missing before requests should come here.
    fn missing(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let (feed, leaving) = (Arc::clone(&self.feed), self.drain.leaving.clone());
        let clock = self.server_clock.clone();
        move || {
            let mut missing = feed.missing(since_boot());
            // No reason to refuse those who ask all the same.
            missing.extend(clock.too_far().map(|it| it.to_string()));
            if leaving.is_cancelled() {
                missing.push("the process is going away".to_owned());
            }
            missing
        }
    }

    /// Judges until `shutdown`, then leaves in an order in which no request fails: not ready any more, but still
    /// serving; no new connections; open ones drained; the Lease released.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let stop_feed = CancellationToken::new();
        let stop = stop_feed.clone();
        let feed = Arc::clone(&self.feed);
        // A task of its own: reading a long list must not keep anybody waiting.
        let mut feeding = tokio::spawn(async move { feed.run(stop).await });
        let missing = self.missing();
        let metrics = Arc::clone(&self.metrics);
        let store = self.store.map(|Store { shared, on_error }| transport::Store { limits: shared, on_error, metrics });
        let outside = Outside { supplier: Some(self.feed.supplier()), store };
        let reports = self.feed.reports();
        let metrics = Arc::clone(&self.metrics);
        let tls = [
            (TlsPort::Grpc, self.grpc.as_ref().and_then(|grpc| grpc.tls.clone())),
            (TlsPort::Report, self.reporting.as_ref().and_then(|reporting| reporting.tls.clone())),
        ];
        for (port, tls) in tls.into_iter().filter_map(|(port, tls)| Some((port, tls?))) {
            tokio::spawn(self.drain.stop.clone().run_until_cancelled_owned(renewal::watch(
                port,
                tls,
                metrics.tls_files.clone(),
            )));
        }
        let drain = self.drain.clone();
        let reported = async move {
            let Some(ReportListener { listener, token, tls }) = self.reporting else { return };
            let port = Arc::new(ReportPort::new(reports, token, metrics));
            report::server::serve(listener, tls, port, drain).await;
        };
        let port = AuthPort::new(self.metrics, self.feed.engine(), outside);
        let port = Arc::new(port.remembering(self.decisions).with_spans(self.spans.clone()));
        let (auth, drain, admission) = (Arc::clone(&port), self.drain.clone(), self.admission.clone());
        let serving_grpc = async move {
            let Some(Opened { listener, tls, route_by_host }) = self.grpc else { return };
            let port = GrpcPort::new(auth, route_by_host, Arc::new(move || missing().is_empty()), drain.stop.clone());
            grpc::server::serve(listener, port, tls, drain, admission).await;
        };
        let leaving = async {
            shutdown.cancelled().await;
            self.drain.leaving.cancel();
            sleep(self.drain_delay).await;
            self.drain.stop.cancel();
        };
        let answer = move |call| {
            let port = Arc::clone(&port);
            async move { port.answer(call).await }
        };
        let serving = server::serve(self.listener, answer, self.drain.clone(), self.admission);
        tokio::select! {
            ((), (), (), ()) = async { tokio::join!(leaving, serving, serving_grpc, reported) } => {}
            // Only a defect ends it before it is told to.
            ended = &mut feeding => return ended.map_err(Error::Feed),
        }
        stop_feed.cancel();
        let (ended, ()) = tokio::join!(feeding, async {
            if let Some(spans) = self.spans {
                spans.stop().await;
            }
        });
        ended.map_err(Error::Feed)
    }
}
