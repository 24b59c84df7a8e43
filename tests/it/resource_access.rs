//! Which resource a request is for, and whether its key may use it: the sample on a real API server, judged by a
//! real verifier for a real nginx.

use axum::http::Method;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::apply::{apply_files, condition, objects};
use crate::support::http::{Answer, HttpClient};
use crate::support::installation::Installation;
use crate::support::wait::eventually;

struct World {
    installation: Installation,
    key: String,
}

impl World {
    async fn start() -> Self {
        let installation = Installation::protecting("inference").await;
        apply_files(&installation.namespace, &["config/samples/resources.yaml"]).await;
        let key = eventually("the key is minted", async || {
            installation.namespace.string_in("transcriber").await.ok_or_else(|| "there is no string yet".to_owned())
        })
        .await;
        Self { installation, key }
    }

    async fn send(&self, method: &Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("x-api-key", &*self.key)];
        all.extend(headers);
        HttpClient::new(self.installation.nginx.address())
            .send(method.clone(), target, &all)
            .await
            .expect("nginx answers")
    }

    /// Status and code; a request that passes has reached the backend, any other has not.
    async fn outcome(&self, method: &Method, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let answer = self.send(method, target, headers).await;
        let status = answer.status.as_u16();
        assert_eq!(self.installation.backend.take().len(), usize::from(status == 200), "{target} {headers:?}");
        let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(status == 200 || document["status"] == status, "{target} {headers:?}: {}", answer.body);
        (status, document["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_key_may_use_what_its_lists_say_of_what_the_catalog_has() {
    let world = World::start().await;
    eventually("the verifier knows the key", async || match world.send(&Method::POST, "/v1/audio", &[]).await {
        answer if answer.status.as_u16() == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    world.installation.backend.take();
    let header = |value| vec![("x-runtime", value)];
    let (get, post) = (Method::GET, Method::POST);
    for (method, target, headers, status, code) in [
        // Unknown, or off, which is the same to callers.
        (&post, "/v1/audio?runtime_id=9", vec![], 404, "RUNTIME_NOT_FOUND"),
        (&post, "/v1/audio?runtime_id=7", vec![], 404, "RUNTIME_NOT_FOUND"),
        (&post, "/v1/audio?model=whisper-tiny", vec![], 404, "RUNTIME_NOT_FOUND"),
        (&get, "/v1/runtimes/retired", vec![], 404, "RUNTIME_NOT_FOUND"),
        // Two values in one place: nobody knows which one the backend takes.
        (&post, "/v1/audio?model=default&model=gpu", vec![], 404, "RUNTIME_NOT_FOUND"),
        (&post, "/v1/audio", vec![("x-runtime", "default"), ("x-runtime", "gpu")], 404, "RUNTIME_NOT_FOUND"),
        // Denied wins over allowed, by whatever name it is asked for.
        (&post, "/v1/audio?runtime_id=5", vec![], 403, "MODEL_FORBIDDEN"),
        (&post, "/v1/audio?runtime_id=%35", vec![], 403, "MODEL_FORBIDDEN"),
        (&post, "/v1/audio?%72untime_id=5&runtime_id=", vec![], 404, "RUNTIME_NOT_FOUND"),
        (&post, "/v1/audio", header("gpu"), 403, "MODEL_FORBIDDEN"),
        (&get, "/v1/runtimes/gpu", vec![], 403, "MODEL_FORBIDDEN"),
        (&get, "/v1/runtimes/%67pu", vec![], 403, "MODEL_FORBIDDEN"),
        // The first place counts.
        (&post, "/v1/audio?runtime_id=5&model=default", header("default"), 403, "MODEL_FORBIDDEN"),
        (&post, "/v1/audio?runtime_id=2&model=gpu", header("gpu"), 200, ""),
        // By id, name and group, and a model that two runtimes serve by itself.
        (&post, "/v1/audio?runtime_id=2", vec![], 200, ""),
        (&post, "/v1/audio", header("cpu-small"), 200, ""),
        (&post, "/v1/audio?model=whisper-small", vec![], 200, ""),
        (&post, "/v1/audio?model=whisper-large", vec![], 200, ""),
        (&get, "/v1/runtimes/1", vec![], 200, ""),
        (&post, "/v1/audio", vec![], 200, ""),
    ] {
        let outcome = world.outcome(method, target, &headers).await;
        assert_eq!(outcome, (status, code.to_owned()), "{method} {target} {headers:?}");
    }
}

#[tokio::test]
async fn a_change_of_catalog_or_key_counts_from_the_moment_it_is_seen() {
    let world = World::start().await;
    let turns = async |target: &str, expected: (u16, &str)| {
        eventually(&format!("{target} turns {expected:?}"), async || {
            let outcome = world.outcome(&Method::POST, target, &[]).await;
            if (outcome.0, &*outcome.1) == expected { Ok(()) } else { Err(format!("{outcome:?}")) }
        })
        .await;
    };
    let patch = async |kind: &str, name: &str, spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        objects(&world.installation.namespace, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    };
    turns("/v1/audio?runtime_id=2", (200, "")).await;
    patch("ApiKey", "transcriber", json!({"resources": [{"kind": "runtime", "allow": ["1"]}]})).await;
    turns("/v1/audio?runtime_id=2", (403, "MODEL_FORBIDDEN")).await;
    let catalog = json!([{"kind": "runtime", "required": true, "entries": [{"id": "2"}]}]);
    patch("ProtectedApi", "inference", json!({"resourceCatalogs": catalog})).await;
    turns("/v1/audio?runtime_id=1", (404, "RUNTIME_NOT_FOUND")).await;
    turns("/v1/audio?runtime_id=2", (403, "RUNTIME_FORBIDDEN")).await;
    turns("/v1/audio", (404, "RUNTIME_NOT_FOUND")).await;
}

/// A parameter that the path lacks is a mistake of the API, told where its author looks.
#[tokio::test]
async fn a_route_that_reads_a_parameter_that_it_does_not_have_is_refused() {
    let world = World::start().await;
    let resource = json!({"kind": "runtime", "from": [{"path": "model"}]});
    let routes = json!([{"name": "infer", "path": "/v1/audio", "resource": resource}]);
    let patch = Patch::Merge(json!({"spec": {"routes": routes}}));
    let apis = objects(&world.installation.namespace, "ProtectedApi");
    apis.patch("inference", &PatchParams::default(), &patch).await.unwrap();
    let message =
        "spec.routes[infer].resource.from: path \"/v1/audio\" has no parameter {model}; add it or name one that it has";
    eventually("the API says so", async || {
        let api = apis.get("inference").await.unwrap();
        let accepted = condition(&api, "Accepted").unwrap_or_default();
        if accepted == ["False", "InvalidRoutes", message] { Ok(()) } else { Err(accepted.join(" ")) }
    })
    .await;
    eventually("nobody gets in", async || {
        let (status, _) = world.outcome(&Method::POST, "/v1/audio", &[]).await;
        if status == 503 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
