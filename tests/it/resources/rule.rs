//! One CEL rule, with what it lets pass and what it refuses.

use serde_json::{Value, json};

use super::server::{Endpoint, Server};

/// A rule in `crds/`, and cases for it.
pub(super) struct RuleCases {
    pub(super) kind: &'static str,
    /// Where the rule stands: `spec.routes[].path`; empty for the object itself.
    pub(super) path: String,
    /// Part of its message, in `crds/` and in the server's answer alike.
    pub(super) message: &'static str,
    pub(super) cases: Vec<Case>,
}

pub(super) struct Case {
    pub(super) accepted: bool,
    action: Action,
}

/// Specs say what they add to the least that the server takes.
enum Action {
    Create {
        spec: Value,
    },
    Change {
        from: Value,
        to: Value,
    },
    /// With this status, a change of the whole object at one endpoint.
    ChangeWithStatus {
        status: Value,
        endpoint: Endpoint,
        change: Value,
    },
}

pub(super) fn rule(kind: &'static str, path: impl Into<String>, message: &'static str) -> RuleCases {
    RuleCases { kind, path: path.into(), message, cases: Vec::new() }
}

impl RuleCases {
    pub(super) fn accepts(self, spec: Value) -> Self {
        self.with(true, Action::Create { spec })
    }

    pub(super) fn refuses(self, spec: Value) -> Self {
        self.with(false, Action::Create { spec })
    }

    pub(super) fn accepts_change(self, from: Value, to: Value) -> Self {
        self.with(true, Action::Change { from, to })
    }

    pub(super) fn refuses_change(self, from: Value, to: Value) -> Self {
        self.with(false, Action::Change { from, to })
    }

    pub(super) fn accepts_with_status(self, status: Value, endpoint: Endpoint, change: Value) -> Self {
        self.with(true, Action::ChangeWithStatus { status, endpoint, change })
    }

    pub(super) fn refuses_with_status(self, status: Value, endpoint: Endpoint, change: Value) -> Self {
        self.with(false, Action::ChangeWithStatus { status, endpoint, change })
    }

    fn with(mut self, accepted: bool, action: Action) -> Self {
        self.cases.push(Case { accepted, action });
        self
    }

    /// What went otherwise than expected, a line for each case.
    pub(super) async fn failures(&self, server: &Server, number: usize) -> Vec<String> {
        let mut failures = Vec::new();
        for (at, case) in self.cases.iter().enumerate() {
            let answer = case.action.carry_out(server, &format!("r{number}-c{at}")).await;
            let failure = match (case.accepted, answer) {
                (true, Err(answer)) => format!("is refused: {answer}"),
                (false, Ok(())) => "is accepted".to_owned(),
                (false, Err(answer)) if !answer.contains(self.message) || !answer.starts_with("422") => {
                    format!("is refused otherwise: {answer}")
                }
                _ => continue,
            };
            failures.push(format!("{} {} ({}): {} {failure}", self.kind, self.path, self.message, case.action));
        }
        failures
    }
}

impl Action {
    async fn carry_out(&self, server: &Server, name: &str) -> Result<(), String> {
        match self {
            Self::Create { spec } => server.try_create(spec).await.map(drop),
            Self::Change { from, to } => {
                server.create(name, from).await;
                server.merge(name, Endpoint::Main, &json!({"spec": to})).await.map(drop)
            }
            Self::ChangeWithStatus { status, endpoint, change } => {
                server.create(name, &json!({"revoked": true})).await;
                server.merge(name, Endpoint::Status, &json!({"status": status})).await?;
                server.merge(name, *endpoint, change).await.map(drop)
            }
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create { spec } => write!(f, "{spec}"),
            Self::Change { from, to } => write!(f, "{from} to {to}"),
            Self::ChangeWithStatus { status, endpoint, change } => {
                write!(f, "with status {status}, {change} at {endpoint:?}")
            }
        }
    }
}

/// Tries all cases of one kind.
pub(super) async fn check(kind: &'static str, rules: Vec<RuleCases>) {
    let server = Server::new(kind).await;
    let mut failures = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        failures.extend(rule.failures(&server, number).await);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
