//! Envoy reports by its access log service, with config/ingress/envoy-grpc/reports.yaml.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::world::{Sizes, TOKEN, World, counter, exchange, file, requests};
use crate::support::envoy::{Envoy, replaced};
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::ports;
use crate::support::process::Signal;
use crate::support::redis::Certificates;
use crate::support::root;
use crate::support::wait::eventually;

/// An Envoy before the backend of a world, whose requests are judged by a verifier of their own.
struct Site {
    world: World,
    envoy: Envoy,
    _judging: Keyturn,
}

impl Site {
    /// `change`: of the cluster that reports go to, and of what Envoy shows there.
    async fn start(keys: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let world = World::new(keys).await;
        let grpc = ports::free();
        let arguments =
            [format!("--grpc-listen={grpc}"), "--drain-delay=0s".to_owned(), "--usage-interval=1s".to_owned()];
        let mut judging = Keyturn::start("verifier", &world.namespace, &arguments.each_ref().map(String::as_str));
        judging.ready().await;
        let api = format!("api: {}/transcripts", world.namespace.name());
        let reporting =
            |text: String| with_reports(&replaced(&text, "api: speech/transcripts", &api), world.reports, change);
        let envoy = Envoy::asking_over_grpc(grpc, world.backend.address(), reporting).await;
        let site = Self { world, envoy, _judging: judging };
        eventually("Envoy asks the verifier", async || {
            let answer = HttpClient::new(site.envoy.address()).get("/", &[]).await?;
            if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        site
    }

    async fn requests(&self, string: &str, further: &str, times: usize) -> Sizes {
        requests(self.envoy.address(), string, further, times).await
    }
}

/// The configuration with what reports.yaml adds. JSON is YAML.
fn with_reports(text: &str, reports: SocketAddr, change: impl FnOnce(&mut Value)) -> String {
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).expect("the configuration is YAML");
    let mut configuration = parse(text);
    let path = root().join("config/ingress/envoy-grpc/reports.yaml");
    let added = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    let example = "address: keyturn-reports.keyturn-system.svc.cluster.local, port_value: 8082";
    let address = format!("address: {}, port_value: {}", reports.ip(), reports.port());
    let mut added = parse(&replaced(&added, example, &address));
    change(&mut added);
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log";
    for (list, more) in [(manager, "access_log"), ("/static_resources/clusters", "clusters")] {
        let list = configuration.pointer_mut(list).and_then(Value::as_array_mut).expect("there is such a list");
        list.append(added[more].as_array_mut().expect("it is a list"));
    }
    configuration.to_string()
}

/// On the same machine, as a reporter that shows that token.
fn showing(token: &str) -> impl FnOnce(&mut Value) {
    move |added| {
        added["clusters"][0].as_object_mut().expect("a cluster").remove("transport_socket");
        let shown = added.pointer_mut("/access_log/0/typed_config/common_config/grpc_service/initial_metadata/0/value");
        *shown.expect("a token is shown") = format!("Bearer {token}").into();
    }
}

#[tokio::test]
async fn what_goes_through_envoy_with_a_key_is_in_its_apikeyusage_to_the_byte() {
    let site = Site::start(&["ci", "other"], showing(TOKEN)).await;
    let world = &site.world;
    let receiver = world.receiver().await;
    let (ci, other) = (world.string("ci").await, world.string("other").await);
    let other_id = world.id("other").await;
    // A client that tries to have its bytes counted for somebody else.
    let forged = format!("X-Apikey-Id: {other_id}\r\nX-Auth-Code: ALLOWED\r\nX-Envoy-Key: {other_id}\r\n");
    let mut expected = site.requests(&ci, "", 20).await;
    expected = expected + site.requests(&ci, &forged, 5).await;
    let body = "b".repeat(100_000);
    let request = format!(
        "POST /write HTTP/1.1\r\nHost: api\r\nX-API-Key: {ci}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    expected = expected + exchange(site.envoy.address(), &request, "HTTP/1.1 200 ").await;
    // Who is refused is nobody, whoever it says it is.
    let refused = format!("GET / HTTP/1.1\r\nHost: api\r\nX-API-Key: none\r\n{forged}Connection: close\r\n\r\n");
    exchange(site.envoy.address(), &refused, "HTTP/1.1 401 ").await;
    let others = site.requests(&other, "", 3).await;
    world.total_becomes("ci", expected).await;
    world.total_becomes("other", others).await;
    // A report is no request.
    eventually("26 requests are told", async || {
        let requests = world.usage("ci").await?.requests.unwrap_or_default();
        if requests.total == 26 { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    assert_eq!(counter(&receiver, "keyturn_report_lines_total{outcome=\"Accepted\"}").await, Ok(29.0));
    assert_eq!(counter(&receiver, "keyturn_report_lines_total{outcome=\"Unknown\"}").await, Ok(0.0));
}

#[tokio::test]
async fn an_envoy_reports_while_its_token_is_good_and_no_longer() {
    let site = Site::start(&["ci"], showing("battery-staple-correct-horse-4711")).await;
    let world = &site.world;
    let token = file(TOKEN);
    let receiver = world.receiver_with(&[&format!("--report-token-file={}", token.display())]).await;
    let string = world.string("ci").await;
    let unauthorized = "keyturn_report_batches_total{outcome=\"Unauthorized\"}";
    let becomes_refused = async |before: f64| {
        eventually("Envoy is refused", async || {
            site.requests(&string, "", 1).await;
            match counter(&receiver, unauthorized).await? {
                count if count > before => Ok(count),
                count => Err(format!("{count}")),
            }
        })
        .await
    };
    let refused = becomes_refused(0.0).await;
    assert_eq!(world.total("ci").await, Ok(Sizes::default()));
    std::fs::write(&token, format!("{TOKEN}\nbattery-staple-correct-horse-4711\n")).expect("the file can be written");
    eventually("Envoy is let in", async || {
        site.requests(&string, "", 1).await;
        let total = world.total("ci").await?;
        if total.received > 0 { Ok(()) } else { Err(format!("{total:?}")) }
    })
    .await;
    // The stream is open, and its token is not good any more.
    std::fs::write(&token, TOKEN).expect("the file can be written");
    becomes_refused(refused).await;
    let log = receiver.log();
    assert!(!log.contains(TOKEN) && !log.contains("battery-staple"), "{log}");
}

/// With a certificate of `own`, towards a port whose certificate `authority` has signed.
fn certified(authority: &Certificates, own: &Certificates) -> impl FnOnce(&mut Value) {
    let (ca, certificate, key) = (authority.ca(), own.certificate(), own.key());
    move |added| {
        let service = added.pointer_mut("/access_log/0/typed_config/common_config/grpc_service");
        service.and_then(Value::as_object_mut).expect("a service").remove("initial_metadata");
        added["clusters"][0]["transport_socket"]["typed_config"]["common_tls_context"] = json!({
            "validation_context": {"trusted_ca": {"filename": ca}},
            "tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}],
        });
    }
}

#[tokio::test]
async fn only_an_envoy_with_a_certificate_of_the_authority_reports() {
    let (ours, theirs) = (Certificates::of("ours"), Certificates::of("theirs"));
    for (own, counts) in [(&theirs, false), (&ours, true)] {
        let site = Site::start(&["ci"], certified(&ours, own)).await;
        let world = &site.world;
        let receiver = world
            .receiver_with(&[
                &format!("--report-tls-cert={}", ours.certificate().display()),
                &format!("--report-tls-key={}", ours.key().display()),
                &format!("--report-client-ca={}", ours.ca().display()),
                "--log-level=info,keyturn::transport=debug",
            ])
            .await;
        let expected = site.requests(&world.string("ci").await, "", 3).await;
        if counts {
            world.total_becomes("ci", expected).await;
        } else {
            eventually("Envoy gets no connection", async || {
                let log = receiver.log();
                if log.contains("do not agree on TLS") { Ok(()) } else { Err(log) }
            })
            .await;
            assert_eq!(counter(&receiver, "keyturn_report_batches_total{outcome=\"Counted\"}").await, Ok(0.0));
            assert_eq!(world.total("ci").await, Ok(Sizes::default()));
        }
    }
}

#[tokio::test]
async fn what_envoy_reports_to_nobody_is_lost_and_nothing_counts_twice() {
    let site = Site::start(&["ci"], showing(TOKEN)).await;
    let world = &site.world;
    let mut receiver = world.receiver().await;
    let string = world.string("ci").await;
    let counted = site.requests(&string, "", 3).await;
    world.total_becomes("ci", counted).await;
    receiver.signal(Signal::TERM);
    receiver.process().ended().await;
    let mut sent = counted + site.requests(&string, "", 2).await;
    let _receiver = world.receiver().await;
    let total = eventually("reports come again", async || {
        sent = sent + site.requests(&string, "", 1).await;
        match world.total("ci").await? {
            total if total.received > counted.received => Ok(total),
            total => Err(format!("{total:?}")),
        }
    })
    .await;
    assert!(total.sent <= sent.sent && total.received <= sent.received, "{total:?} of {sent:?}");
}
