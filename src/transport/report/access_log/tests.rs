use std::pin::pin;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use tokio::time::timeout;

use super::wire::{Common, DOWNSTREAM_END, HttpAccessLogEntries, NOT_SET, Time};
use super::*;
use crate::core::usage::Bytes as Sizes;
use crate::transport::grpc::wire::{Field, FilterMetadata, Metadata, Struct, Value};
use crate::transport::report::tests::{File, TOKEN, open, port, port_behind, token_file};
use crate::verify::gate::Gate;

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

fn metadata(filter: &str, fields: &[(&str, &str)]) -> Metadata {
    let copied = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let value = |text| Value { string: Some(copied(text)), ..Value::default() };
    let fields = fields.iter().map(|(key, text)| Field { key: copied(key), value: value(text) }).collect();
    Metadata { filter_metadata: vec![FilterMetadata { filter: copied(filter), metadata: Struct { fields } }] }
}

/// A request with that key that was let in, 5 bytes of it and 70 of its answer, which ended on 2023-11-15 at 00:00:01 UTC.
fn common(key: &str) -> Common {
    Common {
        start_time: Time { seconds: 1_700_006_398, nanos: 500_000_000 },
        metadata: metadata(EXT_AUTHZ, &[("code", "ALLOWED"), ("key", key)]),
        duration: Time { seconds: 2, nanos: 600_000_000 },
        intermediate: false,
        sent: 70,
        received: 5,
        kind: DOWNSTREAM_END,
    }
}

/// A message with these entries, as it stands on the wire.
fn message(entries: Vec<Common>) -> Vec<u8> {
    let log_entry = entries.into_iter().map(|common| Entry { common }).collect();
    StreamAccessLogsMessage { http_logs: HttpAccessLogEntries { log_entry } }.encode_to_vec()
}

/// What is read of a message with these entries.
fn read(entries: Vec<Common>) -> Entries {
    Entries::decode(&message(entries)).unwrap()
}

/// Sends messages in one stream, and answers the status that it ends with.
async fn stream(port: &ReportPort, authorization: Option<&str>, messages: &[Vec<u8>]) -> Code {
    let mut body = Vec::new();
    for message in messages {
        body.push(0);
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
    }
    let mut call = Request::post(PATH).header("content-type", "application/grpc");
    if let Some(shown) = authorization {
        call = call.header("authorization", shown);
    }
    let call = call.body(Full::new(Bytes::from(body))).unwrap();
    let (head, body) = port.receive(call, &CancellationToken::new()).await.into_parts();
    // A stream that is refused has no body, and its status at once.
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers)).unwrap().code()
}

fn line(key: &str, day: Option<&str>) -> Line {
    Line { key: key.to_owned(), bytes: Sizes { inward: 5, outward: 70 }, day: day.map(|day| day.parse().unwrap()) }
}

#[test]
fn an_entry_counts_for_the_key_that_the_verifier_has_named() {
    let expected = Entries { lines: vec![line("key_1", Some("2023-11-15"))], refused: 0 };
    for kind in [DOWNSTREAM_END, NOT_SET] {
        assert_eq!(read(vec![Common { kind, ..common("key_1") }]), expected);
    }
}

#[test]
fn what_was_not_let_in_with_a_key_is_nobodys() {
    let with = |filter: &str, fields: &[(&str, &str)]| Common { metadata: metadata(filter, fields), ..common("") };
    for entry in [
        Common::default(),
        Common { metadata: Metadata::default(), ..common("key_1") },
        with("envoy.filters.http.lua", &[("code", "ALLOWED"), ("key", "key_1")]),
        with(EXT_AUTHZ, &[("key", "key_1")]),
        with(EXT_AUTHZ, &[("code", "ALLOWED")]),
        with(EXT_AUTHZ, &[("code", "RATE_LIMITED"), ("key", "key_1")]),
        with(EXT_AUTHZ, &[("code", "ALLOWED"), ("would_deny", "REVOKED"), ("key", "key_1")]),
    ] {
        assert_eq!(read(vec![entry]), Entries::default());
    }
}

#[test]
fn of_several_entries_about_one_request_the_last_one_counts() {
    let kinds = (1..20).filter(|kind| *kind != DOWNSTREAM_END);
    let others = kinds.map(|kind| Common { kind, ..common("key_1") });
    let periodic = Common { intermediate: true, ..common("key_1") };
    assert_eq!(read(others.chain([periodic]).collect()), Entries::default());
}

#[test]
fn what_can_be_no_key_or_no_size_is_refused_and_spoils_nothing_else() {
    let long = "k".repeat(report::LONGEST_ID + 1);
    let huge = |received, sent| Common { sent, received, ..common("key_1") };
    let entries = vec![
        common(""),
        common("a b"),
        common("\u{e9}"),
        common("key_1\n"),
        common(&long),
        huge(report::MOST_BYTES + 1, 0),
        huge(0, u64::MAX),
        common("key_2"),
    ];
    assert_eq!(read(entries), Entries { lines: vec![line("key_2", Some("2023-11-15"))], refused: 7 });
}

#[test]
fn an_entry_without_an_instant_that_exists_counts_when_it_comes() {
    for (start, lasted) in
        [((0, 0), (5, 0)), ((i64::MAX, 0), (0, 0)), ((1, -5), (0, 0)), ((1, 0), (i64::MAX, i32::MAX))]
    {
        let time = |(seconds, nanos)| Time { seconds, nanos };
        let entry = Common { start_time: time(start), duration: time(lasted), ..common("key_1") };
        let day = read(vec![entry]).lines[0].day;
        assert!(day.is_none_or(|day| day.to_string().starts_with("19")), "{start:?} {lasted:?} {day:?}");
    }
}

#[tokio::test]
async fn only_who_shows_the_token_reports_a_stream() {
    let file = File::new("stream", TOKEN);
    let port = port(Some(token_file(&file).await));
    let messages = [message(vec![common("key_1"), common("a b")]), message(vec![common("key_2")]), message(vec![])];
    for shown in [None, Some("Bearer battery-staple-correct-horse-4711"), Some(TOKEN)] {
        assert_eq!(stream(&port, shown, &messages).await, Code::Unauthenticated, "{shown:?}");
    }
    let good = format!("Bearer {TOKEN}");
    assert_eq!(stream(&port, Some(&good), &messages).await, Code::Ok);
    file.write("");
    assert_eq!(stream(&port, Some(&good), &messages).await, Code::Unavailable);
    let text = port.metrics.encode().unwrap();
    for line in [
        r#"keyturn_report_batches_total{outcome="Counted"} 2"#,
        r#"keyturn_report_batches_total{outcome="Unauthorized"} 3"#,
        r#"keyturn_report_lines_total{outcome="Unknown"} 2"#,
        r#"keyturn_report_lines_total{outcome="Refused"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_come_before_all_keys_are_known_wait_for_that() {
    let gate = Arc::new(Gate::new(Duration::from_hours(1)));
    let port = port_behind(Arc::clone(&gate), None);
    let messages = [message(vec![common("key_1")])];
    let mut receiving = pin!(stream(&port, None, &messages));
    assert!(timeout(Duration::from_mins(1), &mut receiving).await.is_err(), "the stream is held");
    open(&gate);
    assert_eq!(receiving.await, Code::Ok);
    let counted = r#"keyturn_report_batches_total{outcome="Counted"} 1"#;
    let text = port.metrics.encode().unwrap();
    assert!(text.lines().any(|line| line == counted), "{text}");
}

#[tokio::test]
async fn a_message_that_is_none_ends_its_stream() {
    let port = port(None);
    assert_ne!(stream(&port, None, &[vec![0xff; 8]]).await, Code::Ok);
    assert_ne!(stream(&port, None, &[vec![0; MOST_BODY + 1]]).await, Code::Ok);
}

proptest! {
    #[test]
    fn no_bytes_whatsoever_make_it_panic(message in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entries::decode(&message);
    }
}
