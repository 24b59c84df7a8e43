//! Traces across a proxy and the verifier: a real collector takes what both send.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use keyturn::call::Caller;
use keyturn::metrics::Metrics;
use keyturn::spans::{Settings, Spans};
use keyturn::tls::ClientFiles;
use keyturn::transport::grpc::{self, GrpcPort};
use keyturn::transport::server::{self, Admission, Drain};
use keyturn::transport::{AuthPort, Outside};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::nginx::verifier::{engine, string};
use crate::support::backend::Backend;
use crate::support::cluster::Namespace;
use crate::support::collector::Collector;
use crate::support::envoy::{Envoy, replaced};
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::ports;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// A span of a client's, which the verifier's is to belong to.
const PARENT: &str = "b7ad6b7169203331";

/// A trace of its own for each number.
fn trace(number: u128) -> String {
    format!("{:032x}", 0x0af7_6519_16cd_43dd_8448_0000_0000_0000 + number)
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{PARENT}-{flags}")
}

/// The verifier of the nginx tests, which traces to that collector.
struct Verifier {
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: Arc<Metrics>,
    spans: Arc<Spans>,
    drain: Drain,
}

impl Verifier {
    async fn start(collector: SocketAddr) -> Self {
        let url = format!("http://{collector}").parse().expect("it is a URL");
        let collector = Caller::new(url, ClientFiles::default()).await.expect("no file is needed");
        let settings = Settings { collector, service: "keyturn".into(), instance: "here".into() };
        let metrics = Arc::new(Metrics::new());
        let spans = Spans::new(settings, Arc::clone(&metrics), Handle::current()).expect("spans can be exported");
        let (spans, engine) = (Arc::new(spans), Arc::new(OnceLock::from(engine(&Value::Null))));
        let auth = AuthPort::new(Arc::clone(&metrics), engine, Outside::default());
        let (auth, drain) = (Arc::new(auth.with_spans(Some(Arc::clone(&spans)))), Drain::default());
        let listener = TcpListener::bind(ports::free()).await.expect("the address is free");
        let http = listener.local_addr().expect("a listener has an address");
        let port = Arc::clone(&auth);
        let answer = move |call| {
            let port = Arc::clone(&port);
            async move { port.answer(call).await }
        };
        tokio::spawn(server::serve(listener, answer, drain.clone(), Admission::default()));
        let listener = TcpListener::bind(ports::free()).await.expect("the address is free");
        let grpc = listener.local_addr().expect("a listener has an address");
        let port = GrpcPort::new(auth, false, Arc::new(|| true), drain.stop.clone());
        tokio::spawn(grpc::server::serve(listener, port, None, drain.clone(), Admission::default()));
        Self { http, grpc, metrics, spans, drain }
    }

    /// Judges a request that a proxy traces so, and fails unless it passes.
    async fn judges(&self, headers: &[(&str, &str)]) {
        let key = string("ci");
        let described = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/v1/models"),
            ("x-real-ip", "127.0.0.1"),
            ("x-api-key", key.expose()),
        ];
        let headers: Vec<_> = described.into_iter().chain(headers.iter().copied()).collect();
        let answer = HttpClient::new(self.http).get("/auth/nginx/speech/transcripts", &headers).await;
        assert_eq!(answer.expect("the verifier answers").status, 200);
    }

    async fn has_counted(&self, line: &str) {
        eventually(line, async || {
            let text = self.metrics.encode().expect("metrics are text");
            if text.lines().any(|known| known == line) { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.drain.leaving.cancel();
        self.drain.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_its_parent_has_recorded_is_exported() {
    let collector = Collector::start().await;
    let verifier = Verifier::start(collector.address()).await;
    let (unsampled, twice, sampled) = (trace(1), trace(2), trace(3));
    verifier.judges(&[]).await;
    verifier.judges(&[("traceparent", "made up")]).await;
    verifier.judges(&[("traceparent", &traceparent(&unsampled, "00"))]).await;
    let line = traceparent(&twice, "01");
    verifier.judges(&[("traceparent", &line), ("traceparent", &line)]).await;
    verifier.judges(&[("traceparent", &traceparent(&sampled, "01")), ("tracestate", "a=b")]).await;
    let span = collector.span("keyturn", &sampled).await;
    assert_eq!(
        span.told(),
        "judge keyturn.api=speech/transcripts keyturn.code=ALLOWED keyturn.key.id=key_ci keyturn.protocol=http \
         keyturn.route=models"
    );
    assert!(span.ids()[2] == PARENT && span.has_times(), "{span:?}");
    assert_eq!(collector.all().len(), 1, "{:?}", collector.all());
    assert!(!collector.has_seen(string("ci").expose()), "a credential was exported");
    Arc::clone(&verifier.spans).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let address = ports::free();
    let verifier = Verifier::start(address).await;
    for number in 0..20 {
        verifier.judges(&[("traceparent", &traceparent(&trace(number), "01"))]).await;
    }
    verifier.has_counted("keyturn_spans_total{outcome=\"Failed\"} 20").await;
    let collector = Collector::start_at(address).await;
    verifier.judges(&[("traceparent", &traceparent(&trace(99), "01"))]).await;
    collector.span("keyturn", &trace(99)).await;
    verifier.has_counted("keyturn_spans_total{outcome=\"Exported\"} 1").await;
}

/// The example configuration with a tracer.
fn traced(text: &str, collector: SocketAddr) -> String {
    let tracing = format!(
        "stat_prefix: http
                tracing:
                  random_sampling: {{value: 100}}
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      service_name: envoy
                      http_service:
                        http_uri: {{uri: 'http://{collector}/v1/traces', cluster: collector, timeout: 2s}}"
    );
    let endpoint = format!("address: {}, port_value: {}", collector.ip(), collector.port());
    let cluster = format!(
        "  clusters:
    - name: collector
      type: STATIC
      load_assignment:
        cluster_name: collector
        endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{{endpoint}}}}}}}}}]}}]
"
    );
    replaced(&replaced(text, "stat_prefix: http", &tracing), "  clusters:\n", &cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_the_verifier_are_in_one_trace() {
    let (collector, backend) = (Collector::start().await, Backend::start().await);
    let verifier = Verifier::start(collector.address()).await;
    let with_tracer = |text: String| traced(&text, collector.address());
    let envoy = Envoy::asking_over_grpc(verifier.grpc, backend.address(), with_tracer).await;
    let client = HttpClient::new(envoy.address());
    eventually("Envoy asks the verifier", async || match client.get("/healthz", &[]).await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}: {}", envoy.log())),
    })
    .await;
    let key = string("ci");
    let ask = async |target: &str, trace: &str, flags: &str| {
        let traceparent = traceparent(trace, flags);
        let headers = [("x-api-key", key.expose()), ("traceparent", &*traceparent)];
        client.get(target, &headers).await.expect("Envoy answers").status.as_u16()
    };
    let (unsampled, refused, passed) = (trace(11), trace(12), trace(13));
    assert_eq!(ask("/v1/models", &unsampled, "00").await, 200);
    assert_eq!(ask("/v1/admin", &refused, "01").await, 403);
    assert_eq!(ask("/v1/models", &passed, "01").await, 200);
    for (trace, told) in [
        (&refused, "keyturn.code=INSUFFICIENT_SCOPE keyturn.key.id=key_ci keyturn.protocol=grpc keyturn.route=admin"),
        (&passed, "keyturn.code=ALLOWED keyturn.key.id=key_ci keyturn.protocol=grpc keyturn.route=models"),
    ] {
        let own = collector.span("keyturn", trace).await;
        assert_eq!(own.told(), format!("judge keyturn.api=speech/transcripts {told}"));
        let [_, _, parent] = own.ids();
        eventually("Envoy's span around the verifier's arrives", async || {
            let spans = collector.spans(trace);
            let has_parent = spans.iter().any(|span| span.service == "envoy" && span.ids()[1] == parent);
            if has_parent { Ok(()) } else { Err(format!("{spans:?}")) }
        })
        .await;
    }
    assert!(collector.spans(&unsampled).iter().all(|span| span.service != "keyturn"));
    assert!(!collector.has_seen(key.expose()), "a credential was exported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_exports_what_it_has() {
    let (collector, namespace) = (Collector::start().await, Namespace::create().await);
    let endpoint = format!("--otlp-endpoint=http://{}", collector.address());
    let mut verifier = Keyturn::start("verifier", &namespace, &["--drain-delay=0s", &endpoint]);
    let client = HttpClient::new(verifier.auth());
    let (traceparent, target) = (traceparent(&trace(21), "01"), "/auth/nginx/speech/transcripts");
    eventually("the verifier refuses", async || {
        let answer = client.get(target, &[("traceparent", &traceparent)]).await?;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    verifier.signal(Signal::TERM);
    assert!(verifier.process().ended().await.success(), "{}", verifier.log());
    let spans = collector.spans(&trace(21));
    let told: Vec<_> = spans.iter().map(|span| (&*span.service, span.told())).collect();
    assert_eq!(told, [("keyturn", "judge keyturn.code=UNAVAILABLE keyturn.protocol=http".to_owned())]);
}
