//! From what a manifest spells to what it means. The schema and the CEL rules refuse nearly everything that is
//! refused here; what was written before they were, or past them, becomes a [`Rejection`].

use std::fmt::Display;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::duration::Duration;
use super::limits::{Period, Quota, RateLimit};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::address::AddressSet;
use crate::core::budget;
use crate::core::policy::{self, Age, ObjectName};
use crate::core::scope::Scope;

/// A value that cannot be honoured; `cause` quotes it and says what to write instead.
pub(super) fn invalid(field: &str, cause: impl Display) -> Rejection {
    Rejection::new(Reason::Invalid, format!("{field}: {cause}"))
}

pub(super) fn object_name(metadata: &ObjectMeta) -> Result<ObjectName, Rejection> {
    match (&metadata.namespace, &metadata.name) {
        (Some(namespace), Some(name)) => Ok(ObjectName::new(namespace, name)),
        _ => Err(invalid("metadata", "namespace or name is missing; read the object from the server")),
    }
}

/// Without a time it is no object of an API server; of two it would be the younger.
pub(super) fn age(metadata: &ObjectMeta) -> Age {
    Age {
        created_at: metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
    }
}

pub(super) fn scopes(field: &str, scopes: &[String]) -> Result<Vec<Scope>, Rejection> {
    scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<_, _>>().map_err(|error| invalid(field, error))
}

pub(super) fn addresses(field: &str, entries: &[String]) -> Result<AddressSet, Rejection> {
    AddressSet::parse(entries).map_err(|error| invalid(field, error))
}

pub(super) fn duration(field: &str, duration: &Duration) -> Result<std::time::Duration, Rejection> {
    duration.parse().map_err(|error| invalid(field, error))
}

/// An optional duration that has a lower bound.
pub(super) fn duration_from(
    field: &str,
    least: std::time::Duration,
    value: Option<&Duration>,
) -> Result<Option<std::time::Duration>, Rejection> {
    let Some(value) = value else { return Ok(None) };
    let parsed = duration(field, value)?;
    if parsed < least {
        return Err(invalid(field, format_args!("{:?} is too short; make it {least:?} or longer", value.0)));
    }
    Ok(Some(parsed))
}

/// The shortest life that a key can be given by others.
pub(super) const SHORTEST_LIFE: std::time::Duration = std::time::Duration::from_mins(1);

/// The shortest interval between rotations.
const SHORTEST_INTERVAL: std::time::Duration = std::time::Duration::from_mins(1);

pub(super) fn schedule(
    field: &str,
    interval: Option<&Duration>,
    grace_period: Option<&Duration>,
) -> Result<policy::Schedule, Rejection> {
    let interval = duration_from(&format!("{field}.interval"), SHORTEST_INTERVAL, interval)?;
    let grace_field = format!("{field}.gracePeriod");
    let grace_period = duration_from(&grace_field, std::time::Duration::ZERO, grace_period)?;
    if let (Some(interval), Some(grace)) = (interval, grace_period)
        && grace >= interval
    {
        let cause = format_args!("{grace:?} is not shorter than the interval {interval:?}; shorten it");
        return Err(invalid(&grace_field, cause));
    }
    Ok(policy::Schedule { interval, grace_period })
}

/// The windows that are counted in.
const WINDOWS: std::ops::RangeInclusive<std::time::Duration> =
    std::time::Duration::from_secs(1)..=std::time::Duration::from_hours(720);

pub(super) fn rate_limits(field: &str, limits: &[RateLimit]) -> Result<Vec<policy::RateLimit>, Rejection> {
    let parse = |limit: &RateLimit| {
        let field = format!("{field}[{}]", limit.name);
        let window = duration(&format!("{field}.window"), &limit.window)?;
        if !WINDOWS.contains(&window) {
            let cause = format_args!("{:?} is out of range; make it 1s to 720h", limit.window.0);
            return Err(invalid(&format!("{field}.window"), cause));
        }
        if limit.limit == 0 {
            return Err(invalid(&format!("{field}.limit"), "0 admits nothing; make it 1 or more"));
        }
        Ok(policy::RateLimit {
            name: limit.name.as_str().into(),
            limit: limit.limit,
            window,
            auto_apply: limit.auto_apply,
        })
    };
    limits.iter().map(parse).collect()
}

pub(super) fn quotas(field: &str, quotas: &[Quota]) -> Result<Vec<budget::Quota>, Rejection> {
    let parse = |quota: &Quota| {
        if quota.limit == 0 {
            let field = format!("{field}[{}].limit", quota.name);
            return Err(invalid(&field, "0 admits nothing; make it 1 or more"));
        }
        let period = match quota.period {
            Period::Day => budget::Period::Day,
            Period::Month => budget::Period::Month,
        };
        Ok(budget::Quota { name: quota.name.as_str().into(), limit: quota.limit, period })
    };
    quotas.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Std;

    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, Rejection>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn names_field_value_and_remedy() {
        let limit =
            |limit, window: &str| [RateLimit { name: "rps".into(), limit, window: window.into(), auto_apply: true }];
        for (refused, expected) in [
            (
                message(scopes("spec.scopes", &["a b".into()])),
                "Invalid: spec.scopes: \"a b\" is no scope; use 1 to 128 letters, digits and . _ - : * /",
            ),
            (
                message(addresses("spec.ipAllowlist", &["10.0.0.0/33".into()])),
                "Invalid: spec.ipAllowlist: \"10.0.0.0/33\" is neither an IP address nor a CIDR range; write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32",
            ),
            (
                message(schedule("spec.rotation", Some(&"59s".into()), None)),
                "Invalid: spec.rotation.interval: \"59s\" is too short; make it 60s or longer",
            ),
            (
                message(schedule("spec.rotation", Some(&"1h".into()), Some(&"60m".into()))),
                "Invalid: spec.rotation.gracePeriod: 3600s is not shorter than the interval 3600s; shorten it",
            ),
            (
                message(rate_limits("spec.rateLimits", &limit(1, "721h"))),
                "Invalid: spec.rateLimits[rps].window: \"721h\" is out of range; make it 1s to 720h",
            ),
            (
                message(rate_limits("spec.rateLimits", &limit(0, "1s"))),
                "Invalid: spec.rateLimits[rps].limit: 0 admits nothing; make it 1 or more",
            ),
            (
                message(object_name(&ObjectMeta::default())),
                "Invalid: metadata: namespace or name is missing; read the object from the server",
            ),
        ] {
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn an_absent_schedule_says_nothing() {
        assert_eq!(schedule("spec.rotation", None, None), Ok(policy::Schedule::default()));
        assert_eq!(
            schedule("spec.rotation", Some(&"90d".into()), Some(&"0s".into())),
            Ok(policy::Schedule { interval: Some(Std::from_hours(90 * 24)), grace_period: Some(Std::ZERO) })
        );
    }
}
