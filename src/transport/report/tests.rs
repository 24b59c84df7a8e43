use std::num::NonZeroU32;
use std::path::PathBuf;

use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use super::*;
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::Index;

pub(super) const TOKEN: &str = "correct-horse-battery-staple-4711";

/// A file that is gone when dropped.
pub(super) struct File(PathBuf);

impl File {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("keyturn-{}-{name}", std::process::id())));
        file.write(text);
        file
    }

    pub(super) fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A port of a process that knows no key, and may judge.
pub(super) fn port(token: Option<TokenFile>) -> ReportPort {
    let gate = Arc::new(Gate::new(Duration::from_hours(1)));
    open(&gate);
    port_behind(gate, token)
}

pub(super) fn port_behind(gate: Arc<Gate>, token: Option<TokenFile>) -> ReportPort {
    let index = Index::default();
    index.set_processes(NonZeroU32::MIN);
    ReportPort::new(Reports::new(Arc::new(index), gate), token, Arc::new(Metrics::new()))
}

/// From now on the process may judge.
pub(super) fn open(gate: &Gate) {
    gate.permit(clock::since_boot() + Duration::from_hours(1));
    Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, clock::since_boot()));
}

async fn ask(port: &ReportPort, request: http::request::Builder, body: &str) -> (u16, Value) {
    let response = port.answer(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await;
    (response.status().as_u16(), serde_json::from_str(response.body()).unwrap())
}

fn post() -> http::request::Builder {
    Request::post(PATH)
}

const LINE: &str = r#"{"key": "key_1", "in": 1, "out": 2}"#;

pub(super) async fn token_file(file: &File) -> TokenFile {
    TokenFile::new(file.0.clone()).await.unwrap()
}

#[tokio::test]
async fn who_does_not_show_the_token_reports_nothing() {
    let file = File::new("shown", &format!("{TOKEN}\n"));
    let port = port(Some(token_file(&file).await));
    for shown in [
        &[][..],
        &["Bearer"],
        &["Bearer "],
        &["Basic correct-horse-battery-staple-4711"],
        &["Bearer correct-horse-battery-staple-4712"],
        &["Bearer correct-horse-battery-staple-471"],
        &["Bearer  correct-horse-battery-staple-4711"],
        &["Bearer correct-horse-battery-staple-4711", "Bearer correct-horse-battery-staple-4711"],
    ] {
        for path in [PATH, "/"] {
            let request =
                shown.iter().fold(Request::post(path), |request, shown| request.header(AUTHORIZATION, *shown));
            assert_eq!(ask(&port, request, LINE).await.0, 401, "{shown:?}");
        }
    }
    let admitted = post().header(AUTHORIZATION, format!("bearer {TOKEN}"));
    assert_eq!(ask(&port, admitted, LINE).await, (200, json!({"accepted": 0, "unknown": 1})));
}

#[tokio::test]
async fn a_token_is_replaced_in_its_file_and_none_is_good_while_there_is_none() {
    let new = "another-token-of-more-than-32-characters";
    let file = File::new("replaced", TOKEN);
    let port = port(Some(token_file(&file).await));
    for (text, old_one, new_one) in [
        (TOKEN, 200, 401),
        ("correct-horse-battery-staple-4711\nanother-token-of-more-than-32-characters\n", 200, 200),
        (new, 401, 200),
        ("", 503, 503),
        ("short", 503, 503),
        (new, 401, 200),
    ] {
        file.write(text);
        for (shown, expected) in [(TOKEN, old_one), (new, new_one)] {
            let request = post().header(AUTHORIZATION, format!("Bearer {shown}"));
            assert_eq!(ask(&port, request, LINE).await.0, expected, "{shown} while the file is {text:?}");
        }
    }
}

#[tokio::test]
async fn a_file_without_a_token_is_refused_at_the_start() {
    for (text, remedy) in [(" \n", "openssl rand -base64 32"), ("0123456789012345678901234567890", "less than 32")] {
        let file = File::new("start", text);
        let error = TokenFile::new(file.0.clone()).await.unwrap_err();
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let missing = std::env::temp_dir().join("keyturn-there-is-no-such-file");
    assert!(matches!(TokenFile::new(missing).await, Err(TokenError::File(..))));
}

#[tokio::test]
async fn what_is_no_batch_is_refused_with_what_is_wrong() {
    let port = port(None);
    let named = |name: &str| post().header("idempotency-key", name.to_owned());
    let (long, large) = ("k".repeat(LONGEST_NAME + 1), " ".repeat(MOST_BODY + 1));
    let many = format!("{LINE}\n").repeat(report::MOST_LINES + 1);
    for (request, body, status, detail) in [
        (Request::post("/"), LINE, 404, "there is only POST /v1/bandwidth here"),
        (Request::get(PATH), "", 405, "send it with POST"),
        (post(), "{}", 400, "line 1: key is missing"),
        (post(), &large, 413, "send at most 1048576 bytes at once"),
        (post(), &many, 413, "there are more than 5000 lines; send them in several batches"),
        (named(""), LINE, 400, "Idempotency-Key must be there once at most, with 1 to 64 visible ASCII characters"),
        (named(&long), LINE, 400, "Idempotency-Key must be there once at most, with 1 to 64 visible ASCII characters"),
        (
            named("a").header("idempotency-key", "b"),
            LINE,
            400,
            "Idempotency-Key must be there once at most, with 1 to 64 visible ASCII characters",
        ),
    ] {
        let (found, problem) = ask(&port, request, body).await;
        assert_eq!(
            (found, problem["status"].as_u64(), problem["detail"].as_str()),
            (status, Some(status.into()), Some(detail))
        );
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_gets_the_same_answer_and_no_other_takes_its_name() {
    let port = port(None);
    let named = || post().header("idempotency-key", "b-1");
    for _ in 0..3 {
        assert_eq!(ask(&port, named(), LINE).await, (200, json!({"accepted": 0, "unknown": 1})));
    }
    assert_eq!(ask(&port, named(), "").await.0, 422);
    let text = port.metrics.encode().unwrap();
    for line in [
        r#"keyturn_report_batches_total{outcome="Counted"} 1"#,
        r#"keyturn_report_batches_total{outcome="Repeated"} 2"#,
        r#"keyturn_report_batches_total{outcome="Refused"} 1"#,
        r#"keyturn_report_lines_total{outcome="Unknown"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
}
