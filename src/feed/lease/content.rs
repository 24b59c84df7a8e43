//! What stands in the Lease, and what to make of one that was read back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::resources::names::{APPLIED_ANNOTATION, JUDGING_LABEL};

/// Longest name of a Lease (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// A new Lease of a process that has applied nothing yet.
pub(super) fn claimed(process: &str, nonce: &str, duration: Duration, now: Timestamp) -> Lease {
    let name = name(process, nonce);
    let now = MicroTime(to_micros(now));
    Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(JUDGING_LABEL.to_owned(), "true".to_owned())])),
            annotations: Some(BTreeMap::from([(APPLIED_ANNOTATION.to_owned(), String::new())])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease with how far its process has come.
pub(super) fn renewed(confirmed: &Lease, applied: Option<u64>, now: Timestamp) -> Lease {
    let mut lease = confirmed.clone();
    let applied = applied.map(|version| version.to_string()).unwrap_or_default();
    lease.metadata.annotations.get_or_insert_default().insert(APPLIED_ANNOTATION.to_owned(), applied);
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(to_micros(now)));
    lease
}

/// The Lease of a process that judges no more.
pub(super) fn released(confirmed: &Lease, now: Timestamp) -> Lease {
    let mut lease = confirmed.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(MicroTime(to_micros(now)));
    lease
}

/// What was read after a write went wrong, and what it is held against.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) found: &'a Lease,
    pub(super) wanted: &'a Lease,
    pub(super) confirmed: &'a Lease,
    /// Writes of one's own that counted as failed.
    pub(super) doubtful: &'a [Lease],
}

/// What became of a write whose answer was lost or refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReadBack {
    /// It took place.
    Written,
    /// It did not; what stands there is what stood there before, or a write of one's own that was late.
    Unwritten,
    /// Somebody else has been here.
    Lost,
}

/// Compares only what is ours: somebody's label or a managed field is no conflict.
pub(super) fn read_back(Seen { found, wanted, confirmed, doubtful }: Seen<'_>) -> ReadBack {
    if found.metadata.uid != confirmed.metadata.uid || found.metadata.deletion_timestamp.is_some() {
        ReadBack::Lost
    } else if says_the_same(found, wanted) {
        ReadBack::Written
    } else if says_the_same(found, confirmed) || doubtful.iter().any(|doubtful| says_the_same(found, doubtful)) {
        ReadBack::Unwritten
    } else {
        ReadBack::Lost
    }
}

/// Whether two Leases are the same but for what is not ours.
pub(super) fn says_the_same(one: &Lease, other: &Lease) -> bool {
    said(one) == said(other)
}

fn said(lease: &Lease) -> (Option<&LeaseSpec>, Option<&String>) {
    let applied = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(APPLIED_ANNOTATION));
    (lease.spec.as_ref(), applied)
}

/// `<process>-<nonce>`, with what an object's name cannot hold left out.
fn name(process: &str, nonce: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut name: String = process.to_ascii_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    name.truncate(LONGEST_NAME - nonce.len() - 1);
    match name.trim_matches('-') {
        "" => format!("keyturn-{nonce}"),
        name => format!("{name}-{nonce}"),
    }
}

/// The API server keeps microseconds; what is written must equal what is read back.
fn to_micros(time: Timestamp) -> Timestamp {
    time.round((Unit::Microsecond, 1)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + second, 123_456_789).unwrap()
    }

    fn lease() -> Lease {
        let mut lease = claimed("pod-1", "c0ffee", Duration::from_mins(15), at(0));
        lease.metadata.uid = Some("u1".to_owned());
        lease.metadata.resource_version = Some("7".to_owned());
        lease
    }

    #[test]
    fn a_new_lease_is_held_and_has_applied_nothing() {
        let expected = serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "pod-1-c0ffee",
                "labels": {"keyturn.dev/judging": "true"},
                "annotations": {"keyturn.dev/applied": ""},
            },
            "spec": {
                "holderIdentity": "pod-1-c0ffee",
                "leaseDurationSeconds": 900,
                "acquireTime": "2023-11-14T22:13:20.123457Z",
                "renewTime": "2023-11-14T22:13:20.123457Z",
            },
        });
        let lease = claimed("pod-1", "c0ffee", Duration::from_mins(15), at(0));
        assert_eq!(serde_json::to_value(lease).unwrap(), expected);
    }

    #[test]
    fn every_write_carries_the_version_that_it_replaces() {
        for lease in [renewed(&lease(), Some(12), at(1)), released(&lease(), at(1))] {
            assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"));
        }
    }

    #[test]
    fn a_renewal_says_how_far_the_process_is_and_a_release_that_it_is_gone() {
        let renewed = renewed(&lease(), Some(18_446_744_073_709_551_615), at(1));
        let applied = &renewed.metadata.annotations.as_ref().unwrap()["keyturn.dev/applied"];
        assert_eq!(applied, "18446744073709551615");
        assert_eq!(released(&renewed, at(2)).spec.unwrap().holder_identity.as_deref(), Some(""));
    }

    #[test]
    fn what_was_read_back_tells_what_became_of_the_write() {
        let confirmed = lease();
        let wanted = renewed(&confirmed, Some(9), at(10));
        let late = renewed(&confirmed, Some(8), at(9));
        let touched = |lease: &Lease| {
            let mut lease = lease.clone();
            lease.metadata.resource_version = Some("8".to_owned());
            lease.metadata.labels.get_or_insert_default().insert("team".to_owned(), "a".to_owned());
            lease
        };
        let recreated = {
            let mut lease = wanted.clone();
            lease.metadata.uid = Some("u2".to_owned());
            lease
        };
        for (case, found, expected) in [
            ("released by somebody", released(&confirmed, at(3)), ReadBack::Lost),
            ("renewed by somebody", renewed(&confirmed, Some(3), at(3)), ReadBack::Lost),
            ("another of the same name", recreated, ReadBack::Lost),
            ("a late write of one's own", late.clone(), ReadBack::Unwritten),
            ("as before, with a label", touched(&confirmed), ReadBack::Unwritten),
            ("as wanted", wanted.clone(), ReadBack::Written),
            ("as wanted, with a label", touched(&wanted), ReadBack::Written),
        ] {
            let doubtful = &[late.clone(), wanted.clone()];
            let seen = Seen { found: &found, wanted: &wanted, confirmed: &confirmed, doubtful };
            assert_eq!(read_back(seen), expected, "{case}");
        }
    }

    #[test]
    fn any_host_name_makes_a_name() {
        for (process, expected) in
            [("", "keyturn-1a"), ("---", "keyturn-1a"), ("Host.Example_9", "host-example-9-1a"), ("hôte", "h-te-1a")]
        {
            assert_eq!(name(process, "1a"), expected, "{process}");
        }
        assert_eq!(name(&"x".repeat(300), "1a").len(), 253);
    }
}
