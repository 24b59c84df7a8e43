//! What to do about a refusal, said to whoever runs the API.

use super::{Decision, Field, Limit};
use crate::core::check::Check;

impl Decision {
    /// What is to be done, in a sentence or two.
    #[must_use]
    pub fn remedy(&self) -> String {
        let api = &self.api;
        match self.check {
            Check::Freshness => {
                "Nothing is wrong with the request. GET /readyz on the health port of this verifier says \
                                 what it waits for."
                    .to_owned()
            }
            Check::Api if self.code == "API_NOT_FOUND" => {
                format!("Apply the ProtectedApi {api}, or correct the name in the proxy's configuration.")
            }
            Check::Api => {
                format!("The conditions of the ProtectedApi {api} say why it is not accepted: {}.", self.look())
            }
            Check::Description => self.description(),
            Check::Credential => self.credential(),
            Check::Key => format!(
                "The string has the right form, and no key of {api} has it. It is of another API, of a version that was \
                 retired, or mistyped: take it from the key's Secret anew."
            ),
            Check::Revocation => format!("Revoked on purpose: issue another key. {} says when.", self.look()),
            Check::Acceptance => format!("The conditions of the key say why it is not accepted: {}.", self.look()),
            Check::Enabled => format!("Set spec.enabled of {} to true.", self.name()),
            Check::Expiry => format!(
                "Have the client use the newest string of {}, which is in its Secret; if all of the key is past its time, \
                 move spec.expiresAt.",
                self.name()
            ),
            Check::Address => self.address(),
            Check::Route => format!(
                "Add a route with this method and path to {api}, or set its spec.unmatched to RequireKey. If the path is \
                 not what the client has sent, the proxy rewrites it before it asks."
            ),
            Check::Scopes => format!(
                "Give {} a scope that satisfies {}; it holds {}.",
                self.name(),
                self.concerns.required.as_deref().unwrap_or("the route"),
                listed(&self.concerns.scopes, "none")
            ),
            Check::Resource => self.resource(),
            Check::RateLimits => self.rate_limit(),
            Check::Quotas => self.quota(),
            Check::Credits => format!("Raise spec.credits.granted of {} or of its owner.", self.name()),
        }
    }

    /// The key for people.
    fn name(&self) -> String {
        self.key.as_ref().map_or_else(|| "the key".to_owned(), |key| format!("ApiKey {}/{}", key.namespace, key.name))
    }

    /// The command that shows the object.
    fn look(&self) -> String {
        match (&self.key, self.api.to_string().split_once('/')) {
            (Some(key), _) => format!("kubectl -n {} describe apikey {}", key.namespace, key.name),
            (None, Some((namespace, name))) => format!("kubectl -n {namespace} describe protectedapi {name}"),
            (None, None) => "kubectl describe".to_owned(),
        }
    }

    fn description(&self) -> String {
        let dialect = &self.request.dialect;
        if self.request.target.is_some() {
            return "Servers read such a path differently, so the client has to send a plain one: no dot segments, empty \
                    segments, semicolons, backslashes or encoded slashes."
                .to_owned();
        }
        format!(
            "The proxy has to set what the dialect {dialect} reads, each header once, as its example in config/ingress \
             does: {}.",
            listed(
                &self.request.fields.iter().filter(|field| !field.credential).map(said).collect::<Vec<_>>(),
                "a path"
            )
        )
    }

    fn credential(&self) -> String {
        let places: Vec<_> = self.request.fields.iter().filter(|field| field.credential).collect();
        let names = listed(&places.iter().map(|field| field.name.to_string()).collect::<Vec<_>>(), "nowhere");
        if places.iter().all(|field| field.lines == 0) {
            return format!(
                "{} looks for keys in {names}, and nothing has come there: the client has to send its key, and the proxy has \
                 to pass it on when it asks.",
                self.api
            );
        }
        format!(
            "{} looks for one key in {names}; what has come there is {}.",
            self.api,
            match places.as_slice() {
                [only] if only.lines == 1 => "none of its form".to_owned(),
                _ => "none of its form, or two different ones".to_owned(),
            }
        )
    }

    fn address(&self) -> String {
        let told_by = &self.request.client.told_by;
        let allowed = listed(&self.concerns.ip_allowlist, "nothing");
        match self.request.client.address {
            None => format!(
                "{} may be used from {allowed}, and the client's address is not known: {told_by} does not tell it.",
                self.name()
            ),
            Some(address) => format!(
                "{} may be used from {allowed}. If {address}, as {told_by} tells, is the client, add it to spec.ipAllowlist; if \
                 it is a proxy, name that in spec.trustedForwarders of {}.",
                self.name(),
                self.api
            ),
        }
    }

    fn resource(&self) -> String {
        let name = self.name();
        if self.code.ends_with("_NOT_FOUND") {
            return format!(
                "The request has to name a resource that spec.resourceCatalogs of {} has, once, where the route looks.",
                self.api
            );
        }
        format!("Allow the resource in spec.resources of {name}, or have the client ask for another.")
    }

    fn rate_limit(&self) -> String {
        let Some(Limit { name, limit, window, .. }) = &self.concerns.limit else {
            return "The store of rate limits has not answered; the metrics keyturn_store_* tell more.".to_owned();
        };
        let wait = self.retry_after.map_or_else(String::new, |seconds| format!("Wait {seconds} s. "));
        format!(
            "{wait}The limit {name} admits {limit} in {window} s; raise it in the key, its owner or its tier if that is too few."
        )
    }

    fn quota(&self) -> String {
        match (&self.concerns.quota, self.retry_after) {
            (Some(quota), Some(seconds)) => format!(
                "The quota {quota} begins anew in {seconds} s; raise it in the key, its owner or its tier if that is too late."
            ),
            (Some(quota), None) => format!("Raise the quota {quota} in the key, its owner or its tier."),
            (None, _) => {
                "Quotas and credits could not be had from the API server in time; keyturn_reservations_total tells why."
                    .to_owned()
            }
        }
    }
}

fn said(field: &Field) -> String {
    match (field.lines, &field.value) {
        (0, _) => format!("{} is not there", field.name),
        (1, Some(value)) => format!("{} is {value}", field.name),
        (1, None) => format!("{} is there", field.name),
        (lines, _) => format!("{} is there {lines} times", field.name),
    }
}

fn listed(all: &[String], none: &str) -> String {
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decision;
    use super::super::{Concerns, Shown};
    use super::*;

    #[test]
    fn every_check_has_a_remedy_that_names_what_to_change() {
        for (check, code, part) in [
            (Check::Freshness, "UNAVAILABLE", "GET /readyz"),
            (Check::Api, "API_NOT_FOUND", "Apply the ProtectedApi speech/transcripts"),
            (Check::Api, "UNAVAILABLE", "conditions of the ProtectedApi speech/transcripts"),
            (Check::Description, "BAD_REQUEST", "no dot segments"),
            (
                Check::Credential,
                "UNAUTHORIZED",
                "looks for one key in x-api-key; what has come there is none of its form.",
            ),
            (Check::Key, "UNAUTHORIZED", "no key of speech/transcripts has it"),
            (Check::Revocation, "REVOKED", "kubectl -n speech describe apikey ci"),
            (Check::Acceptance, "NOT_ACCEPTED", "kubectl -n speech describe apikey ci"),
            (Check::Enabled, "DISABLED", "Set spec.enabled of ApiKey speech/ci to true."),
            (Check::Expiry, "EXPIRED", "spec.expiresAt"),
            (Check::Address, "IP_NOT_ALLOWED", "from 192.0.2.0/24. If 198.51.100.7, as x-real-ip tells"),
            (Check::Route, "ROUTE_NOT_FOUND", "spec.unmatched"),
            (Check::Scopes, "INSUFFICIENT_SCOPE", "satisfies the route; it holds none"),
            (Check::Resource, "MODEL_NOT_FOUND", "spec.resourceCatalogs"),
            (Check::Resource, "MODEL_FORBIDDEN", "spec.resources of ApiKey speech/ci"),
            (Check::RateLimits, "UNAVAILABLE", "keyturn_store_"),
            (Check::Quotas, "UNAVAILABLE", "keyturn_reservations_total"),
            (Check::Credits, "CREDITS_EXHAUSTED", "spec.credits.granted of ApiKey speech/ci"),
        ] {
            let remedy = decision(check, code).remedy();
            assert!(remedy.contains(part), "{check:?}: {remedy}");
        }
    }

    #[test]
    fn what_the_check_went_by_is_in_the_remedy() {
        let mut limited = decision(Check::RateLimits, "RATE_LIMITED");
        limited.retry_after = Some(17);
        let limit = Limit { name: "requests".to_owned(), limit: 2, remaining: 0, window: 60 };
        limited.concerns = Concerns { limit: Some(limit), quota: Some("daily".to_owned()), ..Concerns::default() };
        assert!(
            limited.remedy().starts_with("Wait 17 s. The limit requests admits 2 in 60 s;"),
            "{}",
            limited.remedy()
        );
        limited.check = Check::Quotas;
        assert!(limited.remedy().starts_with("The quota daily begins anew in 17 s;"), "{}", limited.remedy());

        let mut nowhere = decision(Check::Credential, "UNAUTHORIZED");
        nowhere.request.fields[0].lines = 0;
        assert!(nowhere.remedy().contains("nothing has come there"), "{}", nowhere.remedy());
        let mut unknown = decision(Check::Address, "IP_NOT_ALLOWED");
        unknown.request.client.address = None;
        assert!(unknown.remedy().contains("x-real-ip does not tell it"), "{}", unknown.remedy());

        let mut unclear = decision(Check::Description, "BAD_REQUEST");
        unclear.request.target = None;
        let field = |name: &str, lines, value: Option<&str>| Field {
            name: Shown::configured(name),
            lines,
            credential: false,
            value: value.map(Shown::configured),
        };
        unclear.request.fields = vec![
            field("x-original-method", 1, Some("GET")),
            field("x-original-uri", 2, None),
            field("x-real-ip", 0, None),
        ];
        let told = "x-original-method is GET, x-original-uri is there 2 times, x-real-ip is not there.";
        assert!(unclear.remedy().ends_with(told), "{}", unclear.remedy());
    }
}
