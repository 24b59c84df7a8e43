//! What the API server refuses by itself: by the roles of `config/rbac`, or by the rules of the schemas.

use serde_json::{Value, json};

use super::world::{HOME, Server, World, ours};

/// One request of the tenant's, and how it is refused.
struct Attempt {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    code: u16,
    /// Part of the message.
    says: &'static str,
}

const FORBIDDEN: u16 = 403;
const INVALID: u16 = 422;

pub(super) async fn check(world: &World) {
    let mut failures = Vec::new();
    for Attempt { what, method, path, body, code, says } in
        [at_home(), elsewhere(), against_the_rules()].into_iter().flatten()
    {
        match world.tenant.send(method, path, body.as_ref()).await {
            Err((answered, message)) if answered == code && message.contains(says) => {}
            other => failures.push(format!("{what}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    un_revoking(&world.tenant, world).await;
}

/// Permanence begins with the controller's word, so this one needs a key of its own.
async fn un_revoking(tenant: &Server, world: &World) {
    tenant.create_key("revoked", &json!({"scopes": ["transcripts:read"], "revoked": true})).await;
    let path = super::world::path("ApiKey", HOME, "revoked");
    crate::support::wait::eventually("the revocation is permanent", async || {
        let key = world.platform.must("GET", &path, None).await;
        if key["status"]["revocation"].is_object() { Ok(()) } else { Err(key["status"].to_string()) }
    })
    .await;
    let (code, message) = tenant.send("PATCH", &path, Some(&json!({"spec": {"revoked": false}}))).await.unwrap_err();
    assert_eq!(code, INVALID);
    assert!(message.contains("the key was revoked permanently"), "{message}");
}

fn get(what: &'static str, path: &'static str, says: &'static str) -> Attempt {
    Attempt { what, method: "GET", path, body: None, code: FORBIDDEN, says }
}

fn delete(what: &'static str, path: &'static str, says: &'static str) -> Attempt {
    Attempt { method: "DELETE", ..get(what, path, says) }
}

fn patch(what: &'static str, path: &'static str, body: Value, says: &'static str) -> Attempt {
    Attempt { method: "PATCH", body: Some(body), ..get(what, path, says) }
}

fn post(what: &'static str, path: &'static str, body: Value, says: &'static str) -> Attempt {
    Attempt { method: "POST", body: Some(body), ..get(what, path, says) }
}

/// A change of the tenant's own key that a rule of the schema refuses.
fn edit(what: &'static str, spec: Value, says: &'static str) -> Attempt {
    Attempt { code: INVALID, ..patch(what, KEY, json!({"spec": spec}), says) }
}

/// What nobody but Keyturn or the platform may write in the tenant's own namespace.
fn at_home() -> Vec<Attempt> {
    let forged = json!({"status": {"versions": [{
        "number": 9, "digest": "00".repeat(32), "pepper": "p1", "start": "sk_live_0000",
        "mintedAt": "2026-01-01T00:00:00Z", "state": "Current",
    }]}});
    let accepted = || {
        json!({"status": {"conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}})
    };
    let usage = ours("ApiKeyUsage", "key-x", json!({}));
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keyturn-controller"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}],
    });
    vec![
        patch(
            "writing a version into its key's status",
            KEY_STATUS,
            forged,
            "cannot patch resource \"apikeys/status\"",
        ),
        patch("accepting its key itself", KEY_STATUS, accepted(), "cannot patch resource \"apikeys/status\""),
        Attempt {
            method: "PUT",
            ..post("replacing its key's status", KEY_STATUS, accepted(), "cannot update resource \"apikeys/status\"")
        },
        patch(
            "accepting an API itself",
            "/apis/keyturn.dev/v1alpha1/namespaces/team-a/protectedapis/own/status",
            accepted(),
            "cannot patch resource \"protectedapis/status\"",
        ),
        patch(
            "accepting an owner itself",
            "/apis/keyturn.dev/v1alpha1/namespaces/team-a/apikeyowners/own/status",
            accepted(),
            "cannot patch resource \"apikeyowners/status\"",
        ),
        post("making a ledger", USAGES, usage, "cannot create resource \"apikeyusages\""),
        get("reading ledgers", USAGES, "cannot list resource \"apikeyusages\""),
        delete("deleting ledgers", USAGES, "cannot deletecollection resource \"apikeyusages\""),
        post(
            "giving itself the controller's rights",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/rolebindings",
            binding,
            "cannot create resource \"rolebindings\"",
        ),
        patch(
            "labelling its namespace as another team's",
            "/api/v1/namespaces/team-a",
            json!({"metadata": {"labels": {"team": "b"}}}),
            "cannot patch resource \"namespaces\"",
        ),
    ]
}

/// What others have: Keyturn, whoever owns the API, a neighbour.
fn elsewhere() -> Vec<Attempt> {
    let grants = json!({"spec": {"grants": [{"name": "me", "from": {"selector": {}}, "scopes": ["*"]}]}});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}});
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    vec![
        patch(
            "giving itself credits",
            "/apis/keyturn.dev/v1alpha1/namespaces/team-a/apikeyusages/key-x/status",
            json!({"status": {"ledger": []}}),
            "cannot patch resource \"apikeyusages/status\"",
        ),
        post("posing as a verifier", LEASES, lease, "cannot create resource \"leases\""),
        get("looking for verifiers", LEASES, "cannot list resource \"leases\""),
        delete("ending verifiers", LEASES, "cannot deletecollection resource \"leases\""),
        get("reading the pepper", PEPPER, "cannot get resource \"secrets\""),
        patch("choosing the pepper", PEPPER, json!({"data": {"p1": "AAAA"}}), "cannot patch resource \"secrets\""),
        get(
            "listing Keyturn's Secrets",
            "/api/v1/namespaces/keyturn-system/secrets",
            "cannot list resource \"secrets\"",
        ),
        post(
            "logging in as the controller",
            "/api/v1/namespaces/keyturn-system/serviceaccounts/keyturn-controller/token",
            token,
            "cannot create resource \"serviceaccounts/token\"",
        ),
        patch(
            "granting itself more",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/protectedapis/transcripts",
            grants,
            "cannot patch resource \"protectedapis\"",
        ),
        post(
            "a key in the API's own namespace",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeys",
            ours("ApiKey", "inside", json!({"apiRef": {"name": "transcripts"}, "scopes": ["*"]})),
            "cannot create resource \"apikeys\"",
        ),
        post(
            "an owner that lists its namespace, beside the API",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeyowners",
            ours("ApiKeyOwner", "mine", json!({"namespaces": [HOME]})),
            "cannot create resource \"apikeyowners\"",
        ),
        patch(
            "listing its namespace with somebody's owner",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeyowners/neighbour",
            json!({"spec": {"namespaces": [HOME]}}),
            "cannot patch resource \"apikeyowners\"",
        ),
        post(
            "a role beside the API",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeyroles",
            ours("ApiKeyRole", "mine", json!({"scopes": ["*"]})),
            "cannot create resource \"apikeyroles\"",
        ),
        patch(
            "widening a role that it has",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeyroles/reader",
            json!({"spec": {"scopes": ["*"]}}),
            "cannot patch resource \"apikeyroles\"",
        ),
        post(
            "a tier beside the API",
            "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeytiers",
            ours("ApiKeyTier", "mine", json!({})),
            "cannot create resource \"apikeytiers\"",
        ),
        get("reading a neighbour's string", "/api/v1/namespaces/team-b/secrets/ci", "cannot get resource \"secrets\""),
        patch(
            "revoking a neighbour's key",
            "/apis/keyturn.dev/v1alpha1/namespaces/team-b/apikeys/ci",
            json!({"spec": {"revoked": true}}),
            "cannot patch resource \"apikeys\"",
        ),
        delete(
            "deleting a neighbour's keys",
            "/apis/keyturn.dev/v1alpha1/namespaces/team-b/apikeys",
            "cannot deletecollection resource \"apikeys\"",
        ),
    ]
}

/// What no key may say, whoever writes it.
fn against_the_rules() -> Vec<Attempt> {
    vec![
        edit("a scope with a question mark", json!({"scopes": ["transcripts.?"]}), "is no scope; use"),
        edit(
            "moving its key to another API",
            json!({"apiRef": {"name": "rich"}}),
            "spec.apiRef transcripts cannot be changed",
        ),
        edit(
            "moving its key to its own API",
            json!({"apiRef": {"namespace": HOME}}),
            "spec.apiRef transcripts cannot be changed",
        ),
        edit(
            "leaving its key's API's namespace out",
            json!({"apiRef": {"namespace": null}}),
            "spec.apiRef transcripts cannot be changed",
        ),
        edit(
            "a key for trying out made into one that counts",
            json!({"environment": "test"}),
            "spec.environment cannot be changed",
        ),
        edit(
            "taking a string over afterwards",
            json!({"source": {"secretRef": {"name": "database", "key": "password"}}}),
            "spec.source cannot be changed, added or removed",
        ),
        edit(
            "a Secret that logs in as a ServiceAccount",
            json!({"secret": {"type": "kubernetes.io/service-account-token"}}),
            "spec.secret.type: Unsupported value",
        ),
        edit(
            "passing its Secret off as another key's",
            json!({"secret": {"labels": {"keyturn.dev/apikey-uid": "somebody"}}}),
            "keyturn.dev",
        ),
        edit("an owner that ends a header", json!({"owner": "acme-1\r\nX-Admin: 1"}), "spec.owner: Invalid value"),
    ]
}

const KEY: &str = "/apis/keyturn.dev/v1alpha1/namespaces/team-a/apikeys/uploader";
const KEY_STATUS: &str = "/apis/keyturn.dev/v1alpha1/namespaces/team-a/apikeys/uploader/status";
const USAGES: &str = "/apis/keyturn.dev/v1alpha1/namespaces/team-a/apikeyusages";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/keyturn-system/leases";
const PEPPER: &str = "/api/v1/namespaces/keyturn-system/secrets/keyturn-pepper";
