//! `keyturn verifier` as a process against a real API server: what it waits for, what it tells the controller, and
//! how it leaves.

mod grpc;

use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::resources::names::{APPLIED_ANNOTATION, JUDGING_LABEL, PEPPER_SECRET};
use keyturn::resources::{ApiKey, ProtectedApi};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::cluster::Namespace;
use crate::support::http::{Answer, HttpClient};
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// The pepper, as the controller would make it.
pub(crate) async fn create_pepper(namespace: &Namespace) {
    let data = [("active", b"p1".to_vec()), ("p1", vec![7; 32])];
    let secret = Secret {
        metadata: ObjectMeta { name: Some(PEPPER_SECRET.to_owned()), ..ObjectMeta::default() },
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value))).into()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = namespace.api();
    secrets.create(&PostParams::default(), &secret).await.expect("the pepper is created");
}

pub(crate) async fn create_api(namespace: &Namespace) {
    let spec = json!({"keyFormat": {"prefix": "sk"}, "credentials": [{"header": "X-API-Key"}]});
    let api = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": {"name": "transcripts"}, "spec": spec,
    });
    let api: ProtectedApi = serde_json::from_value(api).expect("the API is valid");
    namespace.api().create(&PostParams::default(), &api).await.expect("the API is created");
}

/// A verifier that has all that it needs.
pub(crate) async fn start(namespace: &Namespace) -> Keyturn {
    start_with(namespace, &[]).await
}

/// The same, with these further options.
async fn start_with(namespace: &Namespace, further: &[&str]) -> Keyturn {
    create_pepper(namespace).await;
    let options: Vec<_> = ["--drain-delay=0s"].into_iter().chain(further.iter().copied()).collect();
    let mut verifier = Keyturn::start("verifier", namespace, &options);
    verifier.ready().await;
    verifier
}

/// Asks about a request without a key.
async fn ask(verifier: &Keyturn, namespace: &Namespace) -> Result<Answer, String> {
    ask_by(&HttpClient::new(verifier.auth()), namespace).await
}

async fn ask_by(client: &HttpClient, namespace: &Namespace) -> Result<Answer, String> {
    let target = format!("/auth/nginx/{}/transcripts", namespace.name());
    let headers = [("x-original-method", "GET"), ("x-original-uri", "/"), ("x-real-ip", "127.0.0.1")];
    client.get(&target, &headers).await
}

async fn code(verifier: &Keyturn, namespace: &Namespace) -> Result<String, String> {
    let answer = ask(verifier, namespace).await?;
    answer.header("x-auth-code").map(str::to_owned).ok_or_else(|| format!("{answer:?}"))
}

/// The only Lease of a judging process.
async fn lease(namespace: &Namespace) -> Result<Lease, String> {
    let leases: Api<Lease> = namespace.api();
    let selector = ListParams::default().labels(&format!("{JUDGING_LABEL}=true"));
    let mut found = leases.list(&selector).await.map_err(|error| error.to_string())?.items;
    match (found.pop(), found.len()) {
        (Some(lease), 0) => Ok(lease),
        (lease, others) => Err(format!("{lease:?} and {others} more")),
    }
}

fn applied(lease: &Lease) -> Option<u64> {
    lease.annotations().get(APPLIED_ANNOTATION)?.parse().ok()
}

#[tokio::test]
async fn it_says_what_it_waits_for_and_lets_nothing_pass_until_then() {
    let namespace = Namespace::create().await;
    create_api(&namespace).await;
    let mut verifier = Keyturn::verifier(&namespace);
    eventually("the missing pepper is named", async || {
        let answer = verifier.health().get("/readyz", &[]).await?;
        let expected = "not ready:\n- Secret keyturn-pepper does not exist; the controller makes it when it starts\n";
        if (answer.status.as_u16(), answer.body.as_str()) == (503, expected) { Ok(()) } else { Err(answer.body) }
    })
    .await;
    assert_eq!(code(&verifier, &namespace).await, Ok("UNAVAILABLE".to_owned()));
    create_pepper(&namespace).await;
    verifier.ready().await;
    assert_eq!(code(&verifier, &namespace).await, Ok("UNAUTHORIZED".to_owned()));
}

#[tokio::test]
async fn it_judges_for_allowed_peers_only() {
    let namespace = Namespace::create().await;
    create_pepper(&namespace).await;
    create_api(&namespace).await;
    let mut verifier = Keyturn::start("verifier", &namespace, &["--allowed-peers=127.0.0.2,192.0.2.0/24"]);
    verifier.ready().await;
    for (from, expected) in [("127.0.0.1", (403, None)), ("127.0.0.2", (401, Some("UNAUTHORIZED")))] {
        let client = HttpClient::from_address(from.parse().expect("an address"), verifier.auth());
        let answer = ask_by(&client, &namespace).await.expect("the verifier answers");
        assert_eq!((answer.status.as_u16(), answer.header("x-auth-code")), expected, "{from}");
    }
    assert_eq!(verifier.metric("keyturn_turned_away_total{reason=\"Peer\"}").await, Ok(1.0));
}

#[tokio::test]
async fn its_lease_says_how_far_it_has_applied() {
    let namespace = Namespace::create().await;
    let _verifier = start(&namespace).await;
    let held = lease(&namespace).await.unwrap();
    let spec = held.spec.clone().unwrap();
    assert_eq!(spec.holder_identity, held.metadata.name);
    assert_eq!(spec.lease_duration_seconds, Some(900));
    assert_eq!(held.owner_references(), []);

    let key = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci"},
        "spec": {"apiRef": {"name": "transcripts"}},
    });
    let key: ApiKey = serde_json::from_value(key).expect("the key is valid");
    let created = namespace.api().create(&PostParams::default(), &key).await.expect("the key is created");
    let version: u64 = created.resource_version().unwrap().parse().expect("a resourceVersion is a number");
    eventually("the new key is applied", async || {
        let lease = lease(&namespace).await?;
        if applied(&lease) >= Some(version) { Ok(()) } else { Err(format!("{:?}", applied(&lease))) }
    })
    .await;
}

#[tokio::test]
async fn sigterm_ends_it_with_its_lease_released() {
    let namespace = Namespace::create().await;
    let mut verifier = start(&namespace).await;
    verifier.signal(Signal::TERM);
    let status = verifier.process().ended().await;
    assert!(status.success(), "{status}");
    let spec = lease(&namespace).await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some(""));
}

#[tokio::test]
async fn a_lost_lease_is_replaced_by_another() {
    let namespace = Namespace::create().await;
    let _verifier = start(&namespace).await;
    let first = lease(&namespace).await.unwrap();
    let leases: Api<Lease> = namespace.api();
    let theft = Patch::Merge(json!({"spec": {"holderIdentity": "somebody else"}}));
    leases.patch(&first.name_any(), &PatchParams::default(), &theft).await.expect("the Lease is taken");
    eventually("another Lease is held", async || {
        let all = leases.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<_> = all
            .iter()
            .filter(|lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()) == lease.metadata.name)
            .map(ResourceExt::name_any)
            .collect();
        if names.len() == 1 && names[0] != first.name_any() { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_api_that_goes_is_not_found_any_more() {
    let namespace = Namespace::create().await;
    let verifier = start(&namespace).await;
    let becomes = async |expected: &str| {
        eventually(expected, async || {
            let code = code(&verifier, &namespace).await?;
            if code == expected { Ok(()) } else { Err(code) }
        })
        .await;
    };
    becomes("API_NOT_FOUND").await;
    create_api(&namespace).await;
    becomes("UNAUTHORIZED").await;
    let apis: Api<ProtectedApi> = namespace.api();
    apis.delete("transcripts", &kube::api::DeleteParams::default()).await.expect("the API is deleted");
    becomes("API_NOT_FOUND").await;
}

#[tokio::test]
async fn its_metrics_tell_what_it_judged_and_how_fresh_it_is() {
    let namespace = Namespace::create().await;
    create_api(&namespace).await;
    let verifier = start(&namespace).await;
    assert_eq!(code(&verifier, &namespace).await, Ok("UNAUTHORIZED".to_owned()));
    let text = verifier.health().get("/metrics", &[]).await.unwrap().body;
    let judged = format!("keyturn_verdicts_total{{api=\"{}/transcripts\",code=\"UNAUTHORIZED\"}} 1", namespace.name());
    for line in [judged.as_str(), "keyturn_index_keys 0", "keyturn_verify_duration_seconds_count 1"] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
    for kind in ["apikeys", "apikeyowners", "apikeyroles", "apikeytiers", "protectedapis"] {
        assert!(text.contains(&format!("keyturn_watch_age_seconds{{kind=\"{kind}\"}}")), "{text}");
    }
}
