use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::{Body, Client};
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::*;

/// What the API server answers next.
enum Reply {
    Json(u16, Value),
    /// Lines of a watch, then its end.
    Watch(Vec<Value>),
    /// Lines of a watch, then silence: the connection is dead and nobody says so.
    WatchThenSilence(Vec<Value>),
}

fn object(name: &str, version: u64) -> Value {
    let metadata = json!({"name": name, "namespace": "n", "resourceVersion": version.to_string()});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

fn malformed(name: &str, version: u64) -> Value {
    let mut object = object(name, version);
    object["data"] = json!("not a map");
    object
}

fn page(version: u64, next: &str, items: &[Value]) -> Reply {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    Reply::Json(200, json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items}))
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(version: u64) -> Value {
    let metadata = json!({"resourceVersion": version.to_string()});
    event("BOOKMARK", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
}

fn status(code: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": "Expired", "message": "too old"})
}

/// A client whose API server follows `script`, then answers nothing any more, and what was asked of it.
fn client(script: impl IntoIterator<Item = Reply>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script: Mutex<VecDeque<_>> = Mutex::new(script.into_iter().collect());
    let noted = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        noted.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
        let reply = script.lock().unwrap().pop_front();
        async move {
            let (code, lines, silent) = match reply {
                None => std::future::pending().await,
                Some(Reply::Json(code, value)) => (code, vec![value], false),
                Some(Reply::Watch(lines)) => (200, lines, false),
                Some(Reply::WatchThenSilence(lines)) => (200, lines, true),
            };
            let frames =
                lines.into_iter().map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{line}\n")))));
            let silence = if silent { stream::pending().left_stream() } else { stream::empty().right_stream() };
            let body = StreamBody::new(stream::iter(frames).chain(silence));
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

fn told(report: Report<DeserializeGuard<ConfigMap>>) -> String {
    let name = |object: &DeserializeGuard<ConfigMap>| match &object.0 {
        Ok(object) => object.name_any(),
        Err(_) => format!("{} (malformed)", object.name_any()),
    };
    let version = report.version.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
    match report.change {
        Change::Listed(objects) => {
            format!("listed [{}] @{version}", objects.iter().map(name).collect::<Vec<_>>().join(" "))
        }
        Change::Applied(object) => format!("applied {} @{version}", name(&object)),
        Change::Deleted(object) => format!("deleted {} @{version}", name(&object)),
        Change::Bookmark => format!("bookmark @{version}"),
    }
}

fn follower<O>(client: Client, reports: mpsc::Sender<Report<O>>) -> Follower<O, Report<O>>
where
    O: Resource<DynamicType = ()>,
{
    Follower {
        api: Api::all(client),
        length: Duration::from_secs(15),
        reports,
        wrap: |report| report,
        metrics: Arc::default(),
    }
}

/// Runs the script until `count` reports have come, and answers them with the queries that were asked.
async fn follow_script(count: usize, script: impl IntoIterator<Item = Reply>) -> (Vec<String>, Vec<String>) {
    let (client, asked) = client(script);
    let (sender, mut reports) = mpsc::channel(1);
    let follower = tokio::spawn(follow(follower(client, sender)));
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(told(reports.recv().await.unwrap()));
    }
    follower.abort();
    let asked = asked.lock().unwrap().clone();
    (heard, asked)
}

const LIST: &str = "&limit=500";
const WATCH: &str = "&watch=true&timeoutSeconds=15&allowWatchBookmarks=true&resourceVersion=";

#[tokio::test(start_paused = true)]
async fn a_list_is_handed_over_as_a_whole_and_watched_from_its_version() {
    let (heard, asked) = follow_script(
        5,
        [
            page(10, "next", &[object("a", 3)]),
            page(10, "", &[malformed("b", 4), object("c", 5)]),
            Reply::Watch(vec![
                event("ADDED", &object("d", 11)),
                event("MODIFIED", &malformed("a", 12)),
                event("DELETED", &object("c", 13)),
                bookmark(20),
            ]),
        ],
    )
    .await;
    let expected = [
        "listed [a b (malformed) c] @10",
        "applied d @11",
        "applied a (malformed) @12",
        "deleted c @13",
        "bookmark @20",
    ];
    assert_eq!(heard, expected);
    assert_eq!(asked[..3], [LIST.to_owned(), format!("{LIST}&continue=next"), format!("{WATCH}10")]);
}

#[tokio::test(start_paused = true)]
async fn an_ended_watch_goes_on_from_the_last_version() {
    let (heard, asked) = follow_script(
        3,
        [page(10, "", &[]), Reply::Watch(vec![bookmark(12)]), Reply::Watch(vec![event("ADDED", &object("a", 13))])],
    )
    .await;
    assert_eq!(heard, ["listed [] @10", "bookmark @12", "applied a @13"]);
    assert_eq!(asked[..3], [LIST.to_owned(), format!("{WATCH}10"), format!("{WATCH}12")]);
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_ends_in_a_new_list() {
    let page_gone = Reply::Json(410, status(410));
    for (case, mishap) in [
        ("410 on opening", vec![page(10, "", &[]), page_gone]),
        ("403 on opening", vec![page(10, "", &[]), Reply::Json(403, status(403))]),
        ("410 as event", vec![page(10, "", &[]), Reply::Watch(vec![event("ERROR", &status(410))])]),
        ("500 as event", vec![page(10, "", &[]), Reply::Watch(vec![event("ERROR", &status(500))])]),
        ("an event that is none", vec![page(10, "", &[]), Reply::Watch(vec![json!({"type": "ADDED", "object": []})])]),
        ("a dead connection", vec![page(10, "", &[]), Reply::WatchThenSilence(vec![])]),
        (
            "410 on the second page",
            vec![
                page(9, "", &[]),
                Reply::Watch(vec![event("ERROR", &status(410))]),
                page(10, "next", &[]),
                Reply::Json(410, status(410)),
            ],
        ),
    ] {
        let relist = page(30, "", &[object("z", 30)]);
        let (heard, asked) = follow_script(2, mishap.into_iter().chain([relist])).await;
        assert_eq!(heard[1], "listed [z] @30", "{case}");
        assert!(asked.iter().filter(|query| *query == LIST).count() >= 2, "{case}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_whoever_takes_its_reports() {
    let (client, _) = client([page(10, "", &[])]);
    let (sender, reports) = mpsc::channel::<Report<ConfigMap>>(1);
    drop(reports);
    follow(follower(client, sender)).await;
}
