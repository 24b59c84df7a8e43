//! What a process tells of itself, held against docs/operations.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::docs::events::{Event, documented};
use crate::docs::metrics;
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::process::scratch;
use crate::support::wait::eventually;

/// Members of a line in JSON that are no fields of its event.
const OF_THE_LINE: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Whether a message is one of that form, in which `…` stands for anything.
fn has_form(message: &str, form: &str) -> bool {
    let mut parts = form.split('…');
    let Some(mut rest) = parts.next().and_then(|first| message.strip_prefix(first)) else { return false };
    for part in parts {
        let Some(at) = rest.rfind(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Fails unless the line is one of the events, with fields of its own only.
#[track_caller]
fn assert_is_known(line: &Map<String, Value>, events: &BTreeSet<Event>) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let fields: BTreeSet<String> = line.keys().filter(|key| !OF_THE_LINE.contains(&key.as_str())).cloned().collect();
    let is_it = |event: &&Event| {
        let level = text("level").eq_ignore_ascii_case(&event.level);
        level && has_form(text("message"), &event.message) && fields.is_subset(&event.fields)
    };
    assert!(events.iter().any(|event| is_it(&event)), "docs/operations/logs.md does not know {line:?}");
}

/// The lines of levels that are listed which the program itself has written, the audit log apart.
fn own_lines(log: &str) -> Vec<Map<String, Value>> {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")));
    let is_own = |line: &Map<String, Value>| {
        line["target"].as_str().is_some_and(|target| target.starts_with("keyturn")) && line["level"] != "DEBUG"
    };
    lines.filter(is_own).collect()
}

async fn waits_for(process: &Keyturn, message: &str) {
    eventually(message, async || {
        let log = process.log();
        if log.contains(message) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn logs_and_metrics_are_what_the_pages_say_and_the_level_changes_while_it_runs() {
    let (namespace, events) = (Namespace::create().await, documented());
    for role in ["controller", "verifier"] {
        let level = scratch("level");
        let file = format!("--log-level-file={}", level.display());
        let mut process = Keyturn::start(role, &namespace, &["--log-format=json", &file]);
        process.ready().await;
        if role == "verifier" {
            let answer = HttpClient::new(process.auth()).get("/auth/nginx/speech/none", &[]).await;
            assert_eq!(answer.expect("the verifier answers").status, 403);
            waits_for(&process, "\"refused\"").await;
        }
        assert!(!process.log().contains("\"DEBUG\""), "{}", process.log());
        std::fs::write(&level, "keyturn=debug\n").expect("the file can be written");
        waits_for(&process, "\"directives\":\"keyturn=debug\"").await;
        std::fs::write(&level, "keyturn=loud\n").expect("the file can be written");
        waits_for(&process, "reading the log level \\\"keyturn=loud\\\"").await;
        std::fs::write(&level, "").expect("the file can be written");
        waits_for(&process, "\"directives\":\"info\"").await;
        own_lines(&process.log()).iter().for_each(|line| assert_is_known(line, &events));
        let text = process.health().get("/metrics", &[]).await.expect("it answers").body;
        let (exposed, documented) = (metrics::exposed(&text), metrics::documented());
        let unknown: Vec<_> = exposed.iter().filter(|(name, kind)| documented.get(*name) != Some(kind)).collect();
        assert!(exposed.len() > 15 && unknown.is_empty(), "{role} exposes what is not listed so: {unknown:?}");
    }
}
