//! Rules of ApiKey.

use serde_json::{Value, json};

use super::rule::{RuleCases, check, rule};
use super::server::Endpoint::{Main, Status};
use super::server::Server;
use super::shared;

const KIND: &str = "ApiKey";

pub(super) fn rules() -> Vec<RuleCases> {
    let mut rules = vec![
        shared::object_name(KIND, "spec.apiRef.name", |name| json!({"apiRef": {"name": name}})),
        shared::object_name(KIND, "spec.apiRef.namespace", |name| json!({"apiRef": {"name": "a", "namespace": name}})),
        shared::owner(KIND, "spec.owner", |owner| json!({"owner": owner})),
        shared::object_name(KIND, "spec.tier", |tier| json!({"tier": tier})),
        shared::scopes(KIND, "spec.scopes[]", |scopes| json!({"scopes": scopes})),
        shared::object_names(KIND, "spec.roles[]", |roles| json!({"roles": roles})),
        shared::addresses(KIND, "spec.ipAllowlist[]", |entries| json!({"ipAllowlist": entries})),
        rule(KIND, "spec.resources[].kind", "is no kind of resource")
            .accepts(json!({"resources": [{"kind": "model", "allow": ["gpt-*"]}]}))
            .refuses(json!({"resources": [{"kind": "a b"}]})),
        rule(KIND, "spec.credits.refill", "; give a day, 1 to 31, with Monthly and none with Daily")
            .accepts(refill(json!({"interval": "Daily", "amount": 5})))
            .accepts(refill(json!({"interval": "Monthly", "amount": 5, "day": 31})))
            .refuses(refill(json!({"interval": "Monthly", "amount": 5})))
            .refuses(refill(json!({"interval": "Daily", "amount": 5, "day": 1}))),
        rule(KIND, "spec.expiresAt", "is no instant before 9999-12-30")
            .accepts(json!({"expiresAt": "2027-01-01T00:00:00Z"}))
            .accepts(json!({"expiresAt": "2028-02-29T23:59:59.999999999+05:30"}))
            .refuses(json!({"expiresAt": "2027-01-01"}))
            .refuses(json!({"expiresAt": "2027-02-29T00:00:00Z"}))
            .refuses(json!({"expiresAt": "2027-01-01t00:00:00z"}))
            .refuses(json!({"expiresAt": "9999-12-31T23:59:59Z"}))
            .refuses(json!({"expiresAt": "never"})),
    ];
    rules.extend(immutable());
    rules.extend(rotation());
    rules.extend(secret());
    rules.extend(secret_maps());
    rules.extend(source());
    rules.push(revocation());
    rules.extend(shared::limits(KIND));
    rules
}

fn refill(refill: Value) -> Value {
    let mut spec = json!({"credits": {"granted": 10}});
    spec["credits"]["refill"] = refill;
    spec
}

fn immutable() -> Vec<RuleCases> {
    let digest = || json!({"digest": {"algorithm": "SHA-256", "value": "0".repeat(64)}});
    vec![
        rule(KIND, "spec.apiRef", "cannot be changed, to")
            .accepts_change(json!({}), json!({"apiRef": {"name": "transcripts"}, "owner": "acme"}))
            .refuses_change(json!({}), json!({"apiRef": {"name": "other"}}))
            .refuses_change(json!({}), json!({"apiRef": {"namespace": "default"}}))
            .refuses_change(json!({"apiRef": {"name": "a", "namespace": "b"}}), json!({"apiRef": {"namespace": null}})),
        rule(KIND, "spec.environment", "spec.environment cannot be changed from")
            .accepts_change(json!({}), json!({"environment": "live"}))
            .accepts_change(json!({}), json!({"environment": null}))
            .refuses_change(json!({}), json!({"environment": "test"}))
            .refuses_change(json!({"environment": "test"}), json!({"environment": null})),
        rule(KIND, "spec", "spec.source cannot be changed, added or removed")
            .accepts_change(json!({"source": digest()}), json!({"source": digest(), "owner": "acme"}))
            .accepts_change(json!({}), json!({"owner": "acme"}))
            .refuses_change(json!({}), json!({"source": digest()}))
            .refuses_change(json!({"source": digest()}), json!({"source": null}))
            .refuses_change(json!({"source": digest()}), json!({"source": {"digest": {"value": "1".repeat(64)}}})),
    ]
}

fn rotation() -> Vec<RuleCases> {
    let mut rules = shared::schedule(KIND, "spec.rotation", |rotation| json!({"rotation": rotation}));
    rules.push(shared::duration(
        KIND,
        "spec.rotation.request.gracePeriod",
        |grace| json!({"rotation": {"request": {"id": "r", "gracePeriod": grace}}}),
    ));
    let with = |interval: &str, grace: &str| json!({"rotation": {"interval": interval, "request": {"id": "r", "gracePeriod": grace}}});
    rules.push(
        rule(KIND, "spec.rotation", "; give this rotation a shorter one")
            .accepts(with("1d", "0s"))
            .accepts(json!({"rotation": {"request": {"id": "r", "gracePeriod": "90d"}}}))
            .accepts(json!({"rotation": {"interval": "1d", "request": {"id": "r"}}}))
            .refuses(with("1d", "1d"))
            .refuses(with("1h", "61m")),
    );
    rules
}

fn secret() -> Vec<RuleCases> {
    fn secret(secret: Value) -> Value {
        Value::from_iter([("secret", secret)])
    }
    let public_key = || format!("{}=", "A".repeat(1579));
    let data_key = |path: &'static str, put: fn(&str) -> Value| {
        vec![
            rule(KIND, path, "is no data key of a Secret")
                .accepts(put("tls.key_1-a"))
                .refuses(put("a/b"))
                .refuses(put(".."))
                .refuses(put(".")),
            rule(KIND, path, "is a data key that Keyturn fills itself")
                .accepts(put("token"))
                .refuses(put("api-key-id"))
                .refuses(put("api-key-version"))
                .refuses(put("api-key-proof")),
        ]
    };
    let mut rules = vec![
        shared::object_name(KIND, "spec.secret.name", |name| json!({"secret": {"name": name}})),
        rule(KIND, "spec.secret", "spec.secret.sealTo belongs to delivery Sealed")
            .accepts(secret(json!({"delivery": "Sealed", "sealTo": public_key()})))
            .refuses(secret(json!({"sealTo": public_key()})))
            .refuses(secret(json!({"delivery": "Once", "sealTo": public_key()}))),
        rule(KIND, "spec.secret", "spec.secret.delivery Sealed needs spec.secret.sealTo")
            .accepts(secret(json!({"delivery": "Once"})))
            .refuses(secret(json!({"delivery": "Sealed"}))),
        rule(KIND, "spec.secret.sealTo", "is no ML-KEM-768 public key")
            .accepts(secret(json!({"delivery": "Sealed", "sealTo": public_key()})))
            .refuses(secret(json!({"delivery": "Sealed", "sealTo": "A".repeat(1580)})))
            .refuses(secret(json!({"delivery": "Sealed", "sealTo": "-".repeat(1580)}))),
        rule(KIND, "spec.secret", "is also spec.secret.key")
            .accepts(secret(json!({"previousKey": "previous-api-key"})))
            .refuses(secret(json!({"previousKey": "api-key"})))
            .refuses(secret(json!({"key": "token", "previousKey": "token"}))),
        rule(KIND, "spec.secret.onceTtl", "is shorter than 1s")
            .accepts(secret(json!({"delivery": "Once", "onceTtl": "1s"})))
            .refuses(secret(json!({"delivery": "Once", "onceTtl": "0s"}))),
    ];
    rules.push(shared::duration(KIND, "spec.secret.onceTtl", |ttl| secret(json!({"onceTtl": ttl}))));
    rules.extend(data_key("spec.secret.key", |key| json!({"secret": {"key": key}})));
    rules.extend(data_key("spec.secret.previousKey", |key| json!({"secret": {"previousKey": key}})));
    rules
}

fn secret_maps() -> Vec<RuleCases> {
    fn map(field: &str, name: &str, value: &str) -> Value {
        json!({"secret": {field: {name: value}}})
    }
    let mut rules = vec![
        rule(KIND, "spec.secret.labels{}", "is no value of a label")
            .accepts(map("labels", "team", "a.b-c_D"))
            .accepts(map("labels", "team", ""))
            .refuses(map("labels", "team", "a b")),
        rule(KIND, "spec.secret.data", "spec.secret.data has a name that is no data key")
            .accepts(map("data", ".env", "TOKEN=$(apiKey)"))
            .refuses(map("data", "a/b", ""))
            .refuses(map("data", "..", ""))
            .refuses(map("data", &"a".repeat(254), "")),
        rule(KIND, "spec.secret", "spec.secret.data must not have the keys that Keyturn fills itself")
            .accepts(map("data", "token", "x"))
            .refuses(map("data", "api-key", "x"))
            .refuses(map("data", "api-key-proof", "x"))
            .refuses(json!({"secret": {"previousKey": "old", "data": {"old": "x"}}})),
        rule(KIND, "spec.secret.data{}", "spec.secret.data has a placeholder that there is not")
            .accepts(map("data", ".env", "TOKEN=$(apiKey) $(keyId)$(start)\n$(version) $ ( ${x} $x"))
            .refuses(map("data", ".env", "$(apikey)"))
            .refuses(map("data", ".env", "$(date)"))
            .refuses(map("data", ".env", "TOKEN=$("))
            .refuses(map("data", ".env", "$$(apiKey)(x)$("))
            .refuses(map("data", ".env", &format!("{}$(", "$(apiKey)".repeat(450)))),
        rule(KIND, "spec.secret", "spec.secret.type kubernetes.io/basic-auth needs a data key username or password")
            .accepts(json!({"secret": {"type": "kubernetes.io/basic-auth", "key": "password"}}))
            .accepts(json!({"secret": {"type": "kubernetes.io/basic-auth", "data": {"username": "ci"}}}))
            .refuses(json!({"secret": {"type": "kubernetes.io/basic-auth"}}))
            .refuses(json!({"secret": {"type": "kubernetes.io/basic-auth", "previousKey": "password"}})),
        rule(KIND, "spec.secret", "spec.secret.type kubernetes.io/dockerconfigjson needs the data key")
            .accepts(json!({"secret": {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "{}"}}}))
            .refuses(json!({"secret": {"type": "kubernetes.io/dockerconfigjson"}}))
            .refuses(json!({"secret": {"type": "kubernetes.io/dockerconfigjson", "key": ".dockerconfigjson"}})),
    ];
    for (path, field) in [("spec.secret.labels", "labels"), ("spec.secret.annotations", "annotations")] {
        rules.push(
            rule(KIND, path, "has a name that is none of a label or annotation")
                .accepts(map(field, "team", "a"))
                .accepts(map(field, "example.com/team", "a"))
                .refuses(map(field, "a b", "a"))
                .refuses(map(field, "a/b/c", "a"))
                .refuses(map(field, &"a".repeat(64), "a")),
        );
        let reserved = ["kubernetes.io/a", "app.kubernetes.io/a", "k8s.io/a", "keyturn.dev/a", "argocd.argoproj.io/a"];
        let rule = rule(KIND, path, "which are not yours to set")
            .accepts(map(field, "mykubernetes.io/a", "a"))
            .accepts(map(field, "keyturn.dev.example.com/a", "a"));
        rules.push(reserved.into_iter().fold(rule, |rule, name| rule.refuses(map(field, name, "a"))));
    }
    rules
}

fn source() -> Vec<RuleCases> {
    let digest = |value: &str| json!({"source": {"digest": {"algorithm": "SHA-256", "value": value}}});
    let zeros = "0".repeat(64);
    vec![
        rule(KIND, "spec.source", "spec.source has both secretRef and digest")
            .accepts(json!({"source": {"secretRef": {"name": "old-key", "key": "token"}}}))
            .accepts(digest(&zeros))
            .refuses(json!({"source": {
                "secretRef": {"name": "old-key", "key": "token"},
                "digest": {"algorithm": "SHA-256", "value": zeros},
            }})),
        rule(KIND, "spec.source.digest.value", "is no SHA-256 digest")
            .accepts(digest("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="))
            .accepts(digest("E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
            .refuses(digest(&"0".repeat(63)))
            .refuses(digest(&"g".repeat(64))),
        rule(KIND, "spec", "cannot be kept by a key with spec.source.digest")
            .accepts(json!({
                "source": {"secretRef": {"name": "old-key", "key": "token"}}, "rotation": {"interval": "90d"},
            }))
            .accepts(json!({
                "source": {"digest": {"algorithm": "SHA-256", "value": zeros}}, "rotation": {"request": {"id": "r"}},
            }))
            .refuses(json!({
                "source": {"digest": {"algorithm": "SHA-256", "value": zeros}}, "rotation": {"interval": "90d"},
            })),
    ]
}

/// Every key that these cases begin with is revoked in its spec.
fn revocation() -> RuleCases {
    let status = |reversible: bool| json!({"revocation": {"at": "2026-11-22T10:00:00Z", "reversible": reversible}});
    let spec = |revoked: bool| json!({"spec": {"revoked": revoked}});
    let revocation = |revocation: Value| json!({"status": {"revocation": revocation}});
    rule(KIND, "", "the key was revoked permanently")
        .accepts_with_status(json!({}), Main, spec(false))
        .accepts_with_status(json!({}), Status, json!({"status": status(false)}))
        .accepts_with_status(status(true), Main, spec(false))
        .accepts_with_status(status(true), Status, revocation(json!(null)))
        .accepts_with_status(status(true), Status, json!({"status": status(false)}))
        .accepts_with_status(status(false), Main, json!({"spec": {"revocationReason": "leaked"}}))
        .accepts_with_status(status(false), Main, json!({"metadata": {"labels": {"team": "a"}}}))
        .accepts_with_status(status(false), Status, json!({"status": {"state": "Revoked"}}))
        .refuses_with_status(status(false), Main, spec(false))
        .refuses_with_status(status(false), Main, json!({"spec": {"revoked": null}}))
        .refuses_with_status(status(false), Status, revocation(json!(null)))
        .refuses_with_status(status(false), Status, json!({"status": null}))
        .refuses_with_status(status(false), Status, json!({"status": status(true)}))
}

#[tokio::test]
async fn keeps_every_rule() {
    check(KIND, rules()).await;
}

#[tokio::test]
async fn says_of_a_malformed_duration_only_that_it_is_malformed() {
    let server = Server::new(KIND).await;
    let spec =
        json!({"rotation": {"interval": "1x", "gracePeriod": "1h", "request": {"id": "r", "gracePeriod": "2h"}}});
    assert_eq!(
        server.try_create(&spec).await.unwrap_err(),
        "422: ApiKey.keyturn.dev \"tried\" is invalid: spec.rotation.interval: Invalid value: \"1x\": \"1x\" is no duration; write days (90d) or hours, minutes, seconds, milliseconds (1h30m, 45s, 500ms)"
    );
}
