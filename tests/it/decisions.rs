//! Why a request was refused, asked of a real verifier over HTTP and by `keyturn doctor`.

mod installed;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::ports;
use crate::verifier::{create_api, start};

/// Of the form of a key of the API, but for its checksum.
const KEY: &str = "sk_live_0123456789abcdefABCDEF0123456789abcdef";

/// Runs `keyturn doctor` with these arguments to its end.
async fn doctor(arguments: &[String]) -> Output {
    doctor_as(Path::new("/nonexistent"), arguments).await
}

/// The same, with that kubeconfig.
async fn doctor_as(kubeconfig: &Path, arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyturn"));
    command.env("KUBECONFIG", kubeconfig).arg("doctor").args(arguments);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    ran.expect("it is not interrupted").expect("the program is there")
}

fn url(verifier: &Keyturn) -> String {
    format!("--verifier=http://{}", verifier.health().server())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Has a request refused that shows the key wherever one may stand.
async fn refused(verifier: SocketAddr, namespace: &Namespace, id: &str) {
    let target = format!("/auth/nginx/{}/transcripts", namespace.name());
    let uri = format!("/v1/{KEY}?api_key={KEY}&page=2");
    let cookie = format!("session={KEY}");
    let headers = [
        ("x-original-method", "GET"),
        ("x-original-uri", &uri),
        ("x-real-ip", "192.0.2.7"),
        ("x-request-id", id),
        ("x-api-key", KEY),
        ("authorization", KEY),
        ("cookie", &cookie),
    ];
    let answer = HttpClient::new(verifier).get(&target, &headers).await.expect("the verifier answers");
    assert_eq!(answer.status.as_u16(), 401);
}

#[tokio::test]
async fn a_verifier_tells_why_it_has_refused_a_request_and_never_the_key() {
    let namespace = Namespace::create().await;
    create_api(&namespace).await;
    let verifier = start(&namespace).await;
    refused(verifier.auth(), &namespace, "r-1").await;
    let told = verifier.health().get("/decisions/r-1", &[]).await.expect("the health port answers");
    assert_eq!((told.status.as_u16(), told.header("content-type")), (200, Some("application/json")));
    assert!(!told.body.contains(KEY), "{}", told.body);
    let document: Value = serde_json::from_str(&told.body).expect("it is JSON");
    let decision = &document["decisions"][0];
    assert_eq!((&document["requestId"], &decision["check"]), (&"r-1".into(), &"Credential".into()));
    let request = json!({
        "dialect": "nginx",
        "method": "GET",
        "target": "/v1/(46 bytes)?api_key=(46 bytes)&page=(1 byte)",
        "client": {"address": "192.0.2.7", "toldBy": "x-real-ip"},
        "fields": [
            {"name": "x-original-method", "lines": 1, "value": "GET"},
            {"name": "x-original-uri", "lines": 1, "value": "/v1/(46 bytes)?api_key=(46 bytes)&page=(1 byte)"},
            {"name": "x-real-ip", "lines": 1, "value": "192.0.2.7"},
            {"name": "x-api-key", "lines": 1, "credential": true},
        ],
    });
    assert_eq!(decision["request"], request);
    let unknown = verifier.health().get("/decisions/r-2", &[]).await.expect("the health port answers");
    assert_eq!(unknown.status.as_u16(), 404);
    assert!(unknown.body.contains("among the last 1000 that this process has refused"), "{}", unknown.body);
}

#[tokio::test]
async fn the_doctor_asks_every_verifier_and_says_which_check_decided_and_what_to_do() {
    let namespace = Namespace::create().await;
    create_api(&namespace).await;
    let first = start(&namespace).await;
    let mut second = Keyturn::verifier(&namespace);
    second.ready().await;
    refused(second.auth(), &namespace, "r-1").await;
    let both = [url(&first), url(&second)];
    let of = |id: &str, further: &[&str]| {
        let further = further.iter().map(|&argument| argument.to_owned());
        both.iter().cloned().chain([format!("--request={id}")]).chain(further).collect::<Vec<_>>()
    };

    let told = doctor(&of("r-1", &[])).await;
    let (table, log) = (text(&told.stdout), text(&told.stderr));
    assert!(told.status.success() && !table.contains(KEY) && !log.contains(KEY), "{table}{log}");
    for line in [
        "what      GET /v1/(46 bytes)?api_key=(46 bytes)&page=(1 byte)",
        "client    192.0.2.7, by x-real-ip",
        "          x-api-key: a credential, not shown",
        "          REFUSED      one key is presented",
        "          -            a key of the API has this string",
    ] {
        assert!(table.lines().any(|l| l == line), "{line} is missing from\n{table}");
    }
    assert!(table.contains("looks for one key in x-api-key; what has come there is none of its form."), "{table}");

    let told = doctor(&of("r-1", &["-ojson"])).await;
    let document: Value = serde_json::from_slice(&told.stdout).expect("it is JSON");
    let decisions = document["decisions"].as_array().expect("a list");
    let verifier = second.health().server().to_string();
    assert_eq!((decisions.len(), &decisions[0]["verifier"]), (1, &verifier.into()), "{document}");
    assert_eq!(decisions[0]["checks"][3], json!({"check": "Credential", "outcome": "Decided"}));

    let told = doctor(&of("r-2", &[])).await;
    let log = text(&told.stderr);
    assert!(!told.status.success() && log.contains("another verifier may have judged it"), "{log}");
    let nobody = [format!("--verifier=http://{}", ports::free()), "--request=r-1".to_owned()];
    let told = doctor(&nobody).await;
    let log = text(&told.stderr);
    assert!(!told.status.success() && log.contains("nobody has answered"), "{log}");
}
