//! What nobody forbids, and what comes of it: nothing.

use keyturn::core::key::{Environment, KeyFormat};
use serde_json::{Value, json};

use super::world::{HOME, KEY, WRITE, World, ours, path, secret_path};
use crate::support::wait::eventually;

const READ: (&str, &str) = ("GET", "/v1/transcripts/1");

pub(super) async fn check(world: &World) {
    limits(world).await;
    namesakes(world).await;
    forged_status(world).await;
    marks(world).await;
    forged_staged_secret(world).await;
    neighbours_uid(world).await;
}

/// A limit of the key's own is charged beside the tier's of the same name, whichever is smaller.
async fn limits(world: &World) {
    let limit = |limit: u32| json!([{"name": "requests", "limit": limit, "window": "1m", "autoApply": true}]);
    for (name, own, admitted) in [("greedy", 1_000_000_000, 10), ("modest", 3, 3)] {
        let claims = json!({"tier": "free", "scopes": ["transcripts:read"], "rateLimits": limit(own)});
        world.tenant.create_key(name, &claims).await;
        let string = world.active(name).await;
        for _ in 0..admitted {
            assert_eq!(world.ask(&string, READ).await.as_deref(), Ok("OK"), "{name}");
        }
        assert_eq!(world.ask(&string, READ).await.as_deref(), Ok("RATE_LIMITED"), "{name}");
    }
}

/// A role and an API in the tenant's namespace, of the same names as those beside the API.
async fn namesakes(world: &World) {
    world.tenant.create_key("reader", &json!({"tier": "free", "roles": ["reader"], "scopes": []})).await;
    let string = world.active("reader").await;
    assert_eq!(world.ask(&string, READ).await.as_deref(), Ok("OK"));
    assert_eq!(world.ask(&string, WRITE).await.as_deref(), Ok("INSUFFICIENT_SCOPE"));

    world.tenant.create("ProtectedApi", HOME, "transcripts", json!({})).await;
    let own = json!({"apiRef": {"name": "transcripts", "namespace": HOME}, "scopes": ["*"]});
    world.tenant.create_key("own", &own).await;
    let string = world.active("own").await;
    assert_eq!(world.ask(&string, READ).await.as_deref(), Ok("UNAUTHORIZED"));
}

/// A status that comes with a new key is dropped by the API server.
async fn forged_status(world: &World) {
    let spec = json!({"apiRef": {"name": "transcripts", "namespace": "speech"}, "scopes": ["transcripts:read"]});
    let mut key = ours("ApiKey", "forged", spec);
    key["status"] = json!({"id": "key_forged", "versions": [{
        "number": 7, "digest": "00".repeat(32), "pepper": "p1", "start": "sk_live_0000",
        "mintedAt": "2026-01-01T00:00:00Z", "state": "Current",
    }]});
    world.tenant.must("POST", &path("ApiKey", HOME, ""), Some(&key)).await;
    world.active("forged").await;
    let key = world.platform.must("GET", &path("ApiKey", HOME, "forged"), None).await;
    assert_eq!(numbers(&key), [1]);
    assert_ne!(key["status"]["id"], "key_forged");
}

/// Labels and annotations by which Keyturn finds its own objects, on somebody else's.
async fn marks(world: &World) {
    let before = world.string(HOME, KEY).await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "verifier", "labels": {"keyturn.dev/judging": "true"},
            "annotations": {"keyturn.dev/applied": "1"},
        },
        "spec": {"holderIdentity": "verifier", "leaseDurationSeconds": 900},
    });
    // Were it taken for a verifier that is behind, nothing more would be handed out for half a minute.
    world.tenant.must("POST", "/apis/coordination.k8s.io/v1/namespaces/team-a/leases", Some(&lease)).await;
    let marks = json!({"metadata": {
        "labels": {"keyturn.dev/staged": "true", "keyturn.dev/importable": "true"},
        "annotations": {
            "keyturn.dev/delivered": "1", "keyturn.dev/reset-usage": "x", "keyturn.dev/applied": "9999999999",
            "keyturn.dev/apikey": "ci",
        },
    }});
    world.tenant.must("PATCH", &path("ApiKey", HOME, KEY), Some(&marks)).await;
    rotate(world, KEY, HOME, "marks").await;
    let after = world.string(HOME, KEY).await;
    assert_ne!(before, after);
    world.becomes("a key with marks on it", &after, WRITE, "OK").await;
}

/// A string of the tenant's own choice, in a Secret such as the controller stages its own in.
async fn forged_staged_secret(world: &World) {
    let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill(3);
        Ok(())
    };
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    let Ok(chosen) = format.mint(Environment::Live, fill);
    let key = world.platform.must("GET", &path("ApiKey", HOME, KEY), None).await;
    let uid = key["metadata"]["uid"].as_str().expect("a key has a uid");
    let next = numbers(&key).into_iter().max().unwrap_or_default() + 1;
    let owner = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "name": KEY, "uid": uid, "controller": true,
    });
    let staged = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": format!("keyturn-{uid}-{next}"), "ownerReferences": [owner],
            "labels": {"keyturn.dev/apikey-uid": uid, "keyturn.dev/staged": "true"},
            "annotations": {"keyturn.dev/apikey": KEY},
        },
        "stringData": {"api-key": chosen.expose()},
    });
    world.tenant.must("POST", &secret_path(HOME, ""), Some(&staged)).await;
    rotate(world, KEY, HOME, "forged").await;
    assert_ne!(world.string(HOME, KEY).await, chosen.expose());
    assert_eq!(world.ask(chosen.expose(), WRITE).await.as_deref(), Ok("UNAUTHORIZED"));
    world.expect_usable("after a staged Secret was forged").await;
}

/// A Secret of the tenant's that carries the uid of a neighbour's key, and goes away again.
async fn neighbours_uid(world: &World) {
    let key = world.platform.must("GET", &path("ApiKey", "team-b", "ci"), None).await;
    let mut secret = world.platform.must("GET", &secret_path("team-b", "ci"), None).await;
    secret["metadata"] = json!({
        "name": "ci", "labels": {"keyturn.dev/apikey-uid": key["metadata"]["uid"]},
        "annotations": {"keyturn.dev/apikey": "ci"},
    });
    secret["data"] = json!({});
    world.tenant.must("POST", &secret_path(HOME, ""), Some(&secret)).await;
    world.tenant.delete(&secret_path(HOME, "ci")).await;
    let before = world.string("team-b", "ci").await;
    rotate(world, "ci", "team-b", "after").await;
    assert_ne!(world.string("team-b", "ci").await, before);
}

/// Rotates a key by a request, and waits until that is done.
async fn rotate(world: &World, name: &str, namespace: &str, request: &str) {
    let key = path("ApiKey", namespace, name);
    let patch = json!({"spec": {"rotation": {"request": {"id": request}}}});
    world.platform.must("PATCH", &key, Some(&patch)).await;
    eventually(&format!("{namespace}/{name} is rotated"), async || {
        let key = world.platform.must("GET", &key, None).await;
        let done = key["status"]["rotationRequest"] == request && key["status"]["state"] == "Active";
        if done { Ok(()) } else { Err(key["status"].to_string()) }
    })
    .await;
}

/// Numbers of a key's versions.
fn numbers(key: &Value) -> Vec<u64> {
    let versions = key["status"]["versions"].as_array().into_iter().flatten();
    versions.filter_map(|version| version["number"].as_u64()).collect()
}
