//! What a verifier has counted, brought into what is stored.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Bandwidth, Bytes, EndpointUsage, Requests, Usage, VersionUsage};
use crate::core::usage::{self, Day, Endpoint, LastUse, Sums, VersionUse};

impl Usage {
    /// What is stored and what was counted besides, together. Instants are stored as whole seconds.
    #[must_use]
    pub fn merged(stored: Option<&Self>, counted: &usage::Usage) -> Self {
        let mut sum = stored.map(usage::Usage::from).unwrap_or_default();
        sum.merge(counted);
        Self {
            last_used_at: sum.last.map(|last| whole_second(last.at)),
            last_used_from: sum.last.and_then(|last| last.from).map(|from| from.to_string()),
            requests: Some(Requests {
                today: sum.requests.today,
                this_month: sum.requests.this_month,
                total: sum.requests.total,
            }),
            denied: sum.denied,
            bandwidth: sum.bandwidth.as_deref().map(Bandwidth::from),
            top_endpoints: sum
                .endpoints
                .iter()
                .map(|endpoint| EndpointUsage { route: endpoint.route.to_string(), requests: endpoint.requests })
                .collect(),
            versions: sum
                .versions
                .iter()
                .map(|version| VersionUsage { number: version.number, last_used_at: Some(whole_second(version.at)) })
                .collect(),
        }
    }
}

impl From<&Usage> for usage::Usage {
    fn from(stored: &Usage) -> Self {
        let from = stored.last_used_from.as_ref().and_then(|from| from.parse().ok());
        let requests = stored.requests.clone().unwrap_or_default();
        let endpoint =
            |stored: &EndpointUsage| Endpoint { route: stored.route.as_str().into(), requests: stored.requests };
        let version =
            |stored: &VersionUsage| Some(VersionUse { number: stored.number, at: stored.last_used_at.as_ref()?.0 });
        Self {
            last: stored.last_used_at.as_ref().map(|at| LastUse { at: at.0, from }),
            requests: usage::Requests { today: requests.today, this_month: requests.this_month, total: requests.total },
            versions: stored.versions.iter().filter_map(version).collect(),
            endpoints: stored.top_endpoints.iter().map(endpoint).collect(),
            denied: stored.denied.clone(),
            bandwidth: stored.bandwidth.as_ref().map(|stored| Box::new(stored.into())),
        }
    }
}

impl From<&usage::Bandwidth> for Bandwidth {
    fn from(sum: &usage::Bandwidth) -> Self {
        let bytes = |bytes: usage::Bytes| Bytes { in_bytes: bytes.inward, out_bytes: bytes.outward };
        let Sums { today, this_month, total } = sum.bytes;
        Self { day: sum.day.to_string(), today: bytes(today), this_month: bytes(this_month), total: bytes(total) }
    }
}

impl From<&Bandwidth> for usage::Bandwidth {
    fn from(stored: &Bandwidth) -> Self {
        let bytes = |stored: &Bytes| usage::Bytes { inward: stored.in_bytes, outward: stored.out_bytes };
        let Bandwidth { day, today, this_month, total } = stored;
        Self {
            // Nobody but Keyturn writes it. What is no day is one long past, so that the total stands all the same.
            day: day.parse().unwrap_or_else(|_| Day::default()),
            bytes: Sums { today: bytes(today), this_month: bytes(this_month), total: bytes(total) },
        }
    }
}

fn whole_second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored() -> Value {
        json!({
            "lastUsedAt": "2026-11-22T10:00:05Z",
            "lastUsedFrom": "10.0.0.1",
            "requests": {"today": 3, "thisMonth": 40, "total": 500},
            "denied": {"OF_A_LATER_VERSION": 2, "REVOKED": 1},
            "bandwidth": {
                "day": "2026-11-22", "today": {"inBytes": 1, "outBytes": 2}, "thisMonth": {"inBytes": 3, "outBytes": 4},
                "total": {"inBytes": 5, "outBytes": 6},
            },
            "topEndpoints": [{"route": "read", "requests": 30}, {"route": "write", "requests": 1}],
            "versions": [{"number": 2, "lastUsedAt": "2026-11-22T10:00:05Z"}, {"number": 1, "lastUsedAt": "2026-11-21T00:00:00Z"}],
        })
    }

    fn merge(stored: Option<Value>, counted: &usage::Usage) -> Value {
        let stored = stored.map(|stored| serde_json::from_value::<Usage>(stored).unwrap());
        serde_json::to_value(Usage::merged(stored.as_ref(), counted)).unwrap()
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        assert_eq!(merge(Some(stored()), &usage::Usage::default()), stored());
    }

    #[test]
    fn what_was_counted_is_added_and_what_others_have_stored_stays() {
        let mut counted = usage::Usage::default();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let last = LastUse { at: at("2026-11-23T00:00:01.9Z"), from: Some([10, 0, 0, 2].into()) };
        counted.allowed(last, 2, Some(&"write".into()));
        counted.denied("REVOKED");
        let mut expected = stored();
        expected["lastUsedAt"] = json!("2026-11-23T00:00:01Z");
        expected["lastUsedFrom"] = json!("10.0.0.2");
        expected["requests"] = json!({"today": 1, "thisMonth": 41, "total": 501});
        expected["denied"]["REVOKED"] = json!(2);
        expected["topEndpoints"][1]["requests"] = json!(2);
        expected["versions"][0]["lastUsedAt"] = json!("2026-11-23T00:00:01Z");
        assert_eq!(merge(Some(stored()), &counted), expected);

        let first = json!({
            "lastUsedAt": "2026-11-23T00:00:01Z", "lastUsedFrom": "10.0.0.2",
            "requests": {"today": 1, "thisMonth": 1, "total": 1}, "denied": {"REVOKED": 1},
            "topEndpoints": [{"route": "write", "requests": 1}],
            "versions": [{"number": 2, "lastUsedAt": "2026-11-23T00:00:01Z"}],
        });
        assert_eq!(merge(None, &counted), first);
    }

    #[test]
    fn reported_bytes_are_added_on_their_day() {
        let reported = |day: &str| {
            let mut counted = usage::Usage::default();
            let bytes = usage::Bytes { inward: 10, outward: 100 };
            counted.reported(&usage::Bandwidth::of(day.parse().unwrap(), bytes));
            counted
        };
        let bytes = |inward: u64, outward: u64| json!({"inBytes": inward, "outBytes": outward});
        for (day, expected) in [
            ("2026-11-22", ("2026-11-22", bytes(11, 102), bytes(13, 104), bytes(15, 106))),
            ("2026-11-23", ("2026-11-23", bytes(10, 100), bytes(13, 104), bytes(15, 106))),
            ("2026-10-31", ("2026-11-22", bytes(1, 2), bytes(3, 4), bytes(15, 106))),
        ] {
            let (last, today, this_month, total) = expected;
            let mut expected = stored();
            expected["bandwidth"] = json!({"day": last, "today": today, "thisMonth": this_month, "total": total});
            assert_eq!(merge(Some(stored()), &reported(day)), expected, "{day}");
        }
        let first = merge(None, &reported("2026-11-22"));
        let sums =
            json!({"day": "2026-11-22", "today": bytes(10, 100), "thisMonth": bytes(10, 100), "total": bytes(10, 100)});
        assert_eq!(first["bandwidth"], sums);
        assert_eq!(first.get("lastUsedAt"), None);
    }
}
