use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::Full;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// The Secret of that version with 32 bytes under each name, the first of which is active.
fn secret(version: u64, names: &[&str]) -> Value {
    let bytes = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "keyturn-pepper", "resourceVersion": version.to_string()},
        "data": {"active": k8s_openapi::ByteString(names[0].as_bytes().to_vec())},
    });
    for name in names {
        secret["data"][name] = json!(bytes);
    }
    secret
}

fn parsed(secret: &Value) -> Option<Secret> {
    serde_json::from_value(secret.clone()).unwrap()
}

/// A key whose only version was digested under that pepper.
fn key(pepper: &str) -> Change<DeserializeGuard<ApiKey>> {
    let version = json!({
        "number": 1, "digest": "", "pepper": pepper, "start": "sk", "mintedAt": "2026-01-01T00:00:00Z",
        "state": "Current",
    });
    let key = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci"},
        "spec": {"apiRef": {"name": "transcripts"}}, "status": {"versions": [version]},
    });
    Change::Applied(serde_json::from_value(key).unwrap())
}

/// What was told, in short: the names of the peppers to use, or a reason in brackets.
type Told = Arc<Mutex<Vec<String>>>;

/// A keeper whose reads on demand answer `secret` and are counted.
fn keeper(secret: Value) -> (Keeper<'static>, Told, Arc<Mutex<u32>>) {
    let reads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&reads);
    let service = tower::service_fn(move |_: Request<Body>| {
        *counted.lock().unwrap() += 1;
        let response = Response::new(Full::from(serde_json::to_vec(&secret).unwrap()));
        async { Ok::<_, Infallible>(response) }
    });
    let told = Told::default();
    let heard = Arc::clone(&told);
    let tell = Box::new(move |news| {
        heard.lock().unwrap().push(match news {
            News::Use(peppers) => peppers.iter().map(Pepper::name).collect::<Vec<_>>().join(" "),
            News::Missing(reason) => format!("[{reason}]"),
        });
    });
    let secrets = Api::namespaced(Client::new(service, "keyturn-system"), "keyturn-system");
    (Keeper::new(secrets, Duration::from_secs(60), tell), told, reads)
}

#[tokio::test]
async fn what_cannot_be_used_is_told_until_there_is_a_pepper_and_changes_nothing_later() {
    let (keeper, told, _) = keeper(Value::Null);
    keeper.take(None);
    keeper.take(None);
    let mut short = secret(3, &["p1"]);
    short["data"]["p1"] = json!("BwcH");
    keeper.take(parsed(&short));
    keeper.take(parsed(&secret(4, &["p1"])));
    short["metadata"]["resourceVersion"] = json!("5");
    keeper.take(parsed(&short));
    keeper.take(None);
    assert_eq!(
        *told.lock().unwrap(),
        [
            "[Secret keyturn-pepper does not exist; the controller makes it when it starts]",
            "[pepper \"p1\" in Secret keyturn-pepper has fewer than 32 bytes]",
            "p1",
        ]
    );
}

#[tokio::test]
async fn an_older_secret_is_never_taken_for_a_newer_one() {
    let (keeper, told, _) = keeper(Value::Null);
    keeper.take(parsed(&secret(7, &["p1", "p2"])));
    keeper.take(parsed(&secret(6, &["p1"])));
    assert_eq!(*told.lock().unwrap(), ["p1 p2"]);
}

#[tokio::test]
async fn a_pepper_that_is_gone_is_kept_for_a_while() {
    let (keeper, told, _) = keeper(Value::Null);
    keeper.take(parsed(&secret(1, &["p1"])));
    keeper.take(parsed(&secret(2, &["p2", "p1"])));
    assert!(keeper.known().linger_until.is_none());
    keeper.take(parsed(&secret(3, &["p2"])));
    assert!(keeper.known().linger_until.is_some());
    keeper.forget_former();
    assert!(keeper.known().linger_until.is_none());
    assert_eq!(*told.lock().unwrap(), ["p1", "p2 p1", "p2 p1", "p2"]);
}

#[tokio::test]
async fn a_pepper_that_a_key_needs_is_read_before_the_key_is_applied() {
    let (keeper, told, reads) = keeper(secret(2, &["p1", "p2"]));
    keeper.know(&key("p2")).await;
    assert_eq!(*reads.lock().unwrap(), 0, "there is nothing to be judged yet");
    keeper.take(parsed(&secret(1, &["p1"])));
    keeper.know(&key("p1")).await;
    assert_eq!(*reads.lock().unwrap(), 0);
    keeper.know(&key("p2")).await;
    assert_eq!(*told.lock().unwrap(), ["p1", "p1 p2"]);
    for _ in 0..2 {
        keeper.know(&key("lost")).await;
    }
    assert_eq!(*reads.lock().unwrap(), 2, "a lost pepper is looked for once");
    assert_eq!(told.lock().unwrap().len(), 2);
}
