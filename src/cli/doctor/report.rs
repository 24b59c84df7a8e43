//! What verifiers have told, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Error;
use super::ask::AskError;
use crate::core::decision::{Decision, Field, KnownKey, Outcome};
use crate::telemetry::chain;

/// Width of the table's first column.
const LABEL: usize = 10;

/// All that was told of a request.
pub(super) struct Report {
    pub(super) request_id: String,
    pub(super) answers: Vec<Answer>,
}

/// What one verifier has told.
pub(super) struct Answer {
    /// Its address.
    pub(super) verifier: String,
    pub(super) told: Result<Vec<Decision>, AskError>,
}

impl Report {
    fn found(&self) -> impl Iterator<Item = (&str, &Decision)> {
        let answered = self.answers.iter().filter_map(|answer| Some((&*answer.verifier, answer.told.as_ref().ok()?)));
        answered.flat_map(|(verifier, told)| told.iter().map(move |decision| (verifier, decision)))
    }

    pub(super) fn has_found(&self) -> bool {
        self.found().next().is_some()
    }

    /// What is missing, if nothing was explained.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        if self.has_found() {
            return Ok(());
        }
        let failed = |answer: &Answer| Some(format!("{}: {}", answer.verifier, trouble(answer)?));
        let all = self.answers.iter().filter_map(failed).collect::<Vec<_>>().join("; ");
        let kept_nowhere = self.answers.iter().any(|answer| matches!(answer.told, Err(AskError::NotKept(_))));
        Err(if kept_nowhere { Error::NotKept(all) } else { Error::NoAnswer(all) })
    }

    /// For programs: each refusal with its checks and what to do, and what became of each question.
    pub(super) fn json(&self) -> Value {
        let explained = |(verifier, decision): (&str, &Decision)| {
            let mut told = json!(decision);
            told["verifier"] = verifier.into();
            told["checks"] =
                decision.checks().map(|(check, outcome)| json!({"check": check, "outcome": outcome})).collect();
            told["remedy"] = decision.remedy().into();
            told
        };
        let asked = |answer: &Answer| json!({"address": answer.verifier, "error": trouble(answer)});
        json!({
            "requestId": self.request_id,
            "decisions": self.found().map(explained).collect::<Vec<_>>(),
            "verifiers": self.answers.iter().map(asked).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::default();
        for (verifier, decision) in self.found() {
            table.explain(&self.request_id, verifier, decision);
        }
        for answer in &self.answers {
            let told = trouble(answer).map(|trouble| format!("{}: {trouble}", answer.verifier));
            told.iter().for_each(|told| table.row("not told", told));
        }
        table.0
    }
}

fn trouble(answer: &Answer) -> Option<String> {
    answer.told.as_ref().err().map(|error| chain(error))
}

/// Lines of a label and a text.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, label: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{label:LABEL$}{text}");
    }

    fn explain(&mut self, request_id: &str, verifier: &str, decision: &Decision) {
        let Decision { at, api, code, status, cause, request, .. } = decision;
        self.row("request", &format!("{request_id} at {at}, judged by {verifier}"));
        let came = if decision.enforced { "refused" } else { "audit" };
        self.row(came, &format!("{status} {code}: {cause}"));
        let shown = [&request.method, &request.target]
            .map(|part| part.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string));
        self.row("what", &shown.join(" "));
        let route = decision.route.as_ref().map(|route| format!(", route {route}")).unwrap_or_default();
        self.row("api", &format!("{api}{route}"));
        self.row("key", &decision.key.as_ref().map_or_else(|| "not known".to_owned(), key));
        let address = request.client.address.map_or_else(|| "not known".to_owned(), |address| address.to_string());
        self.row("client", &format!("{address}, by {}", request.client.told_by));
        self.row("proxy", &format!("asks as {}", request.dialect));
        request.fields.iter().for_each(|told| self.row("", &field(told)));
        for (at, (check, outcome)) in decision.checks().enumerate() {
            let became = match outcome {
                Outcome::Passed => "passed",
                Outcome::Decided if decision.enforced => "REFUSED",
                Outcome::Decided => "WOULD REFUSE",
                Outcome::NotReached => "-",
            };
            self.row(if at == 0 { "checks" } else { "" }, &format!("{became:13}{}", check.as_str()));
        }
        self.row("remedy", &decision.remedy());
        self.0.push('\n');
    }
}

fn key(key: &KnownKey) -> String {
    let KnownKey { id, namespace, name, version, owner, tier } = key;
    let mut told = format!("ApiKey {namespace}/{name}, {id}, version {version}");
    for (label, value) in [("owner", owner), ("tier", tier)] {
        if !value.is_empty() {
            let _ = write!(told, ", {label} {value}");
        }
    }
    told
}

fn field(field: &Field) -> String {
    let Field { name, lines, credential, value } = field;
    let what = if *credential { "a credential, not shown" } else { "not shown" };
    match (lines, value) {
        (0, _) => format!("{name}: not there"),
        (1, Some(value)) => format!("{name}: {value}"),
        (1, None) => format!("{name}: {what}"),
        (lines, _) => format!("{name}: {lines} times, {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::check::Check;
    use crate::core::decision::tests::decision;

    fn report(answers: Vec<(&str, Result<Vec<Decision>, AskError>)>) -> Report {
        let answer = |(verifier, told): (&str, _)| Answer { verifier: verifier.to_owned(), told };
        Report { request_id: "r-1".to_owned(), answers: answers.into_iter().map(answer).collect() }
    }

    #[test]
    fn what_nobody_tells_is_an_error_that_says_who_was_asked() {
        let not_kept = || Err(AskError::NotKept("no request of this id".to_owned()));
        let told = report(vec![("a:1", Err(AskError::TimedOut)), ("b:1", not_kept())]);
        let error = told.verdict().unwrap_err().to_string();
        assert_eq!(error, "a:1: no answer within 5 s; b:1: no request of this id");
        let error = report(vec![("a:1", Err(AskError::TimedOut))]).verdict().unwrap_err().to_string();
        assert_eq!(error, "asking verifiers: nobody has answered; a:1: no answer within 5 s");
        let expected = json!({
            "requestId": "r-1",
            "decisions": [],
            "verifiers": [{"address": "b:1", "error": "no request of this id"}],
        });
        assert_eq!(report(vec![("b:1", not_kept())]).json(), expected);
    }

    #[test]
    fn people_are_told_which_check_decided_and_what_to_do() {
        let refused = decision(Check::Address, "IP_NOT_ALLOWED");
        let told = report(vec![("a:1", Ok(vec![refused])), ("b:1", Err(AskError::TimedOut))]);
        let expected = "\
request   r-1 at 1970-01-01T00:00:00Z, judged by a:1
refused   403 IP_NOT_ALLOWED: the key may not be used from this address
what      GET /v1/models?page=(1 byte)
api       speech/transcripts, route read
key       ApiKey speech/ci, key_1, version 3
client    198.51.100.7, by x-real-ip
proxy     asks as nginx
          x-api-key: a credential, not shown
checks    passed       the verifier knows what is true now
          passed       the API is known and accepted
          passed       the proxy describes the request
          passed       one key is presented
          passed       a key of the API has this string
          passed       the key is not revoked
          passed       the key is accepted
          passed       the key is enabled
          passed       the key is within its time
          REFUSED      the client's address is allowed
          -            the API has the route
          -            the scopes satisfy the route
          -            the resource is known and allowed
          -            the rate limits have room
          -            the quotas have room
          -            the credits suffice
remedy    ApiKey speech/ci may be used from 192.0.2.0/24. If 198.51.100.7, as x-real-ip tells, is the client, add it to \
spec.ipAllowlist; if it is a proxy, name that in spec.trustedForwarders of speech/transcripts.

not told  b:1: no answer within 5 s
";
        assert_eq!(told.table(), expected);
        assert!(told.verdict().is_ok());
    }

    #[test]
    fn programs_are_told_the_same() {
        let mut audited = decision(Check::Key, "UNAUTHORIZED");
        (audited.enforced, audited.key) = (false, None);
        let told = report(vec![("a:1", Ok(vec![audited]))]).json();
        let found = &told["decisions"][0];
        assert_eq!(
            (&found["verifier"], &found["enforced"], &found["check"]),
            (&"a:1".into(), &false.into(), &"Key".into())
        );
        assert_eq!(found["checks"][4], json!({"check": "Key", "outcome": "Decided"}));
        assert!(found["remedy"].as_str().unwrap().contains("no key of speech/transcripts has it"));
        assert_eq!(told["verifiers"], json!([{"address": "a:1", "error": null}]));
    }
}
