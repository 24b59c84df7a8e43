//! From an ApiKey to what acceptance and verification work with.

use std::sync::Arc;

use super::{ApiKey, ApiKeySpec, Credits, Delivery, ResourceAccess, SecretTemplate};
use crate::core::acceptance::Rejection;
use crate::core::digest::StringHash;
use crate::core::policy::{self, Key, ObjectName, RotationRequest};
use crate::core::resource::Access;
use crate::core::source::Source;
use crate::resources::parse;

impl ApiKey {
    /// What the key's spec comes to. Fields that this version does not act on are named in the result, and
    /// acceptance refuses them.
    ///
    /// # Errors
    /// A value that the schema should have refused.
    pub fn parse(&self) -> Result<Key, Rejection> {
        let spec = &self.spec;
        let name = parse::object_name(&self.metadata)?;
        let uid = self.metadata.uid.as_deref();
        let created_at = self.metadata.creation_timestamp.as_ref();
        let (Some(uid), Some(created_at)) = (uid, created_at) else {
            let cause = "uid or creationTimestamp is missing; read the object from the server";
            return Err(parse::invalid("metadata", cause));
        };
        let api = spec.api_ref.namespace.as_deref().unwrap_or(&name.namespace);
        let rotation = &spec.rotation;
        Ok(Key {
            api: ObjectName::new(api, &spec.api_ref.name),
            uid: uid.into(),
            created_at: created_at.0,
            environment: spec.environment.into(),
            owner: spec.owner.as_deref().map(Into::into),
            tier: spec.tier.as_deref().map(Into::into),
            scopes: spec.scopes.as_ref().map(|scopes| parse::scopes("spec.scopes", scopes)).transpose()?,
            roles: spec.roles.iter().map(|role| role.as_str().into()).collect(),
            ip_allowlist: parse::addresses("spec.ipAllowlist", &spec.ip_allowlist)?,
            resources: spec.resources.iter().map(access).collect(),
            rate_limits: parse::rate_limits("spec.rateLimits", &spec.rate_limits)?,
            quotas: parse::quotas("spec.quotas", &spec.quotas)?,
            credits: spec.credits.as_ref().map(Credits::parse).transpose()?,
            enabled: spec.enabled,
            revoked: spec.revoked,
            expires_at: spec.expires_at.as_ref().map(|at| at.0),
            rotation: parse::schedule("spec.rotation", rotation.interval.as_ref(), rotation.grace_period.as_ref())?,
            rotation_request: rotation_request(spec)?,
            secret_name: spec.secret.name.as_deref().map_or_else(|| Arc::clone(&name.name), Into::into),
            delivery: delivery(&spec.secret)?,
            source: source(spec)?,
            name,
        })
    }
}

fn access(access: &ResourceAccess) -> Access {
    let patterns = |patterns: &[String]| patterns.iter().map(|pattern| pattern.as_str().into()).collect();
    Access { kind: access.kind.as_str().into(), allow: patterns(&access.allow), deny: patterns(&access.deny) }
}

fn rotation_request(spec: &ApiKeySpec) -> Result<Option<RotationRequest>, Rejection> {
    let Some(request) = &spec.rotation.request else {
        return Ok(None);
    };
    let grace_period = request.grace_period.as_ref();
    let grace_period =
        grace_period.map(|grace| parse::duration("spec.rotation.request.gracePeriod", grace)).transpose()?;
    Ok(Some(RotationRequest { id: request.id.as_str().into(), grace_period }))
}

fn delivery(template: &SecretTemplate) -> Result<policy::Delivery, Rejection> {
    let ttl = parse::duration("spec.secret.onceTtl", &template.once_ttl)?;
    Ok(match template.delivery {
        Delivery::Retain => policy::Delivery::Retain,
        Delivery::Once => policy::Delivery::Once { ttl },
        Delivery::Sealed => policy::Delivery::Sealed { ttl },
    })
}

fn source(spec: &ApiKeySpec) -> Result<Option<Source>, Rejection> {
    let Some(source) = &spec.source else { return Ok(None) };
    match (&source.secret_ref, &source.digest) {
        (None, None) => Ok(None),
        (Some(secret), None) => {
            Ok(Some(Source::Secret { name: secret.name.as_str().into(), key: secret.key.as_str().into() }))
        }
        (None, Some(digest)) if spec.rotation.interval.is_none() => {
            let hash = StringHash::parse(&digest.value).ok_or_else(|| {
                let cause = "is no SHA-256 digest; write it as 64 hexadecimal digits or as base64";
                parse::invalid("spec.source.digest.value", format_args!("{:?} {cause}", digest.value))
            })?;
            Ok(Some(Source::Digest(hash)))
        }
        (None, Some(_)) => {
            let cause =
                "a key with spec.source.digest cannot keep a schedule; remove it and rotate by rotation.request";
            Err(parse::invalid("spec.rotation.interval", cause))
        }
        (Some(_), Some(_)) => Err(parse::invalid("spec.source", "has both secretRef and digest; remove one of them")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::core::acceptance::Reason;
    use crate::core::key::Environment;

    fn key(spec: Value) -> ApiKey {
        let mut object = json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": "ApiKey",
            "metadata": {
                "name": "ci", "namespace": "team-a", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"apiRef": {"name": "transcripts"}},
        });
        let Value::Object(fields) = spec else { panic!("a spec is an object") };
        for (field, value) in fields {
            object["spec"][field] = value;
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_spec_that_says_nothing_has_the_defaults_of_the_server() {
        let spec = ApiKeySpec { api_ref: key(json!({})).spec.api_ref, ..ApiKeySpec::default() };
        assert_eq!(key(json!({})).spec, spec);
    }

    #[test]
    fn values_arrive_as_written() {
        let key = key(json!({
            "environment": "test", "owner": "acme", "tier": "pro", "scopes": [], "roles": ["reader"],
            "ipAllowlist": ["10.0.0.1"], "rateLimits": [{"name": "rps", "limit": 5, "window": "1s"}],
            "enabled": false, "revoked": true, "expiresAt": "2027-01-01T01:00:00+01:00",
            "rotation": {"interval": "90d", "request": {"id": "r1", "gracePeriod": "0s"}},
        }));
        let key = key.parse().unwrap();
        assert_eq!(key.api, ObjectName::new("team-a", "transcripts"));
        assert_eq!(key.environment, Environment::Test);
        assert_eq!((key.owner.as_deref(), key.tier.as_deref()), (Some("acme"), Some("pro")));
        assert_eq!(key.scopes, Some(Vec::new()));
        assert!(key.ip_allowlist.admits("10.0.0.1".parse().unwrap()));
        assert_eq!(key.rate_limits[0].window, Duration::from_secs(1));
        assert_eq!((key.enabled, key.revoked), (false, true));
        assert_eq!(key.expires_at.unwrap().to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(key.rotation.interval, Some(Duration::from_hours(90 * 24)));
        assert_eq!(key.rotation_request, Some(RotationRequest { id: "r1".into(), grace_period: Some(Duration::ZERO) }));
    }

    #[test]
    fn quotas_and_credits_arrive_as_written() {
        use crate::core::budget::{Credits, Interval, Period, Quota, Refill};
        let quotas = json!([{"name": "d", "limit": 5, "period": "Day"}, {"name": "m", "limit": 9, "period": "Month"}]);
        let quota = |name: &str, limit, period| Quota { name: name.into(), limit, period };
        let parsed = key(json!({"quotas": quotas})).parse().unwrap().quotas;
        assert_eq!(parsed, [quota("d", 5, Period::Day), quota("m", 9, Period::Month)]);
        for (refill, expected) in [
            (json!(null), None),
            (json!({"interval": "Daily", "amount": 7}), Some(Refill { interval: Interval::Daily, amount: 7 })),
            (
                json!({"interval": "Monthly", "amount": 7, "day": 31}),
                Some(Refill { interval: Interval::Monthly { day: 31 }, amount: 7 }),
            ),
        ] {
            let parsed = key(json!({"credits": {"granted": 3, "epoch": 2, "refill": refill}})).parse().unwrap();
            assert_eq!(parsed.credits, Some(Credits { granted: 3, epoch: 2, refill: expected }));
        }
    }

    fn digest() -> Value {
        json!({"digest": {"algorithm": "SHA-256", "value": "0".repeat(64)}})
    }

    #[test]
    fn a_source_is_a_secret_a_digest_or_nothing() {
        let secret = Source::Secret { name: "old".into(), key: "token".into() };
        let hash = StringHash::parse(&"0".repeat(64)).unwrap();
        for (source, expected) in [
            (json!(null), None),
            (json!({}), None),
            (json!({"secretRef": {"name": "old", "key": "token"}}), Some(secret)),
            (digest(), Some(Source::Digest(hash))),
        ] {
            assert_eq!(key(json!({"source": source})).parse().unwrap().source, expected);
        }
    }

    #[test]
    fn a_delivery_knows_how_long_it_may_take() {
        let hour = Duration::from_hours(1);
        for (secret, expected) in [
            (json!({}), policy::Delivery::Retain),
            (json!({"delivery": "Once"}), policy::Delivery::Once { ttl: hour }),
            (json!({"delivery": "Sealed", "onceTtl": "2h"}), policy::Delivery::Sealed { ttl: 2 * hour }),
        ] {
            assert_eq!(key(json!({"secret": secret})).parse().unwrap().delivery, expected);
        }
    }

    #[test]
    fn what_the_schema_should_have_refused_is_said_instead_of_used() {
        for spec in [
            json!({"scopes": ["a b"]}),
            json!({"ipAllowlist": ["nowhere"]}),
            json!({"rotation": {"interval": "1s"}}),
            json!({"secret": {"onceTtl": "soon"}}),
            json!({"quotas": [{"name": "q", "limit": 0, "period": "Day"}]}),
            json!({"credits": {"granted": 1, "refill": {"interval": "Daily", "amount": 0}}}),
            json!({"credits": {"granted": 1, "refill": {"interval": "Daily", "amount": 1, "day": 1}}}),
            json!({"credits": {"granted": 1, "refill": {"interval": "Monthly", "amount": 1}}}),
            json!({"credits": {"granted": 1, "refill": {"interval": "Monthly", "amount": 1, "day": 32}}}),
            json!({"rotation": {"request": {"id": "r", "gracePeriod": "soon"}}}),
            json!({"rateLimits": [{"name": "rps", "limit": 5, "window": "1ms"}]}),
            json!({"source": {"digest": {"algorithm": "SHA-256", "value": "0".repeat(63)}}}),
            json!({"source": digest(), "rotation": {"interval": "90d"}}),
            json!({"source": {"digest": digest()["digest"], "secretRef": {"name": "old", "key": "token"}}}),
        ] {
            assert_eq!(key(spec.clone()).parse().unwrap_err().reason, Reason::Invalid, "{spec}");
        }
    }
}
