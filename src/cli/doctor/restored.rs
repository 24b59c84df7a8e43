//! What a restore of etcd has undone, for people and for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::Output;
use crate::core::audit::undone::{Found, Search, Undone};

/// Why nothing is listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error(
        "there is no line of an audit log in it: name the file of the controller's --audit-file, or give the controller's log"
    )]
    Empty,
}

/// Reads these logs, and says what was done since.
pub(super) fn tell(since: Timestamp, logs: &[PathBuf], output: Output) -> Result<String, Error> {
    let mut search = Search::new(since);
    for log in logs {
        read(log, &mut search).map_err(|error| Error::Read(log.clone(), error))?;
    }
    let found = search.finish();
    // That nothing is listed must not be for want of a log.
    if found.read == 0 {
        return Err(Error::Empty);
    }
    Ok(match output {
        Output::Json => format!("{}\n", json!({"undone": found.undone, "unreadable": found.unreadable})),
        Output::Table => table(since, &found),
    })
}

fn read(log: &Path, search: &mut Search) -> io::Result<()> {
    let source: Box<dyn Read> = if log == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(log)?) };
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    // A line that a crash has torn need not be text.
    while source.read_until(b'\n', &mut line)? > 0 {
        search.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

fn table(since: Timestamp, found: &Found) -> String {
    let mut table = String::new();
    let mut row = |columns: [&str; 5]| {
        let [time, action, key, actor, remedy] = columns;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{time:22}{action:19}{key:31} {actor:23} {remedy}");
    };
    row(["TIME", "ACTION", "KEY", "ACTOR", "WHAT TO DO"]);
    for Undone { at, action, key, actor, remedy } in &found.undone {
        let key = format!("{}/{}", key.namespace, key.name);
        row([&at.to_string(), action.as_str(), &key, actor, remedy]);
    }
    if found.undone.is_empty() {
        let _ = writeln!(table, "nothing was done to a key since {since}");
    }
    if found.unreadable > 0 {
        let _ = writeln!(table, "{} lines of the audit log are not whole: look at them yourself", found.unreadable);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::nonce;

    const LINE: &str = r#"{"id":"u1.Revoked.2","time":"2026-11-22T10:00:00Z","key":{"namespace":"team-a","name":"ci","uid":"u1"},
"actor":"alice","actorSource":"Policy","action":"Revoked"}"#;

    fn told(text: &str, since: &str, output: Output) -> Result<String, String> {
        let file = std::env::temp_dir().join(format!("keyturn-doctor-{}", nonce(8).unwrap()));
        std::fs::write(&file, text).unwrap();
        let told = tell(since.parse().unwrap(), std::slice::from_ref(&file), output);
        std::fs::remove_file(file).unwrap();
        told.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_no_audit_log_is_refused_rather_than_taken_for_an_empty_one() {
        let error = told("nothing\n", "2026-11-22T10:00:00Z", Output::Table).unwrap_err();
        assert!(error.starts_with("there is no line of an audit log in it: name the file"), "{error}");
        let missing = tell(Timestamp::UNIX_EPOCH, &[PathBuf::from("/nowhere")], Output::Json).unwrap_err();
        assert_eq!(missing.to_string(), "reading /nowhere");
    }

    #[test]
    fn people_and_programs_are_told_what_is_undone_and_what_to_do() {
        let text = format!("{}\n\u{fffd}actorSource\n", LINE.replace('\n', ""));
        let expected = "\
TIME                  ACTION             KEY                             ACTOR                   WHAT TO DO
2026-11-22T10:00:00Z  Revoked            team-a/ci                       alice                   it is accepted again: revoke it again
1 lines of the audit log are not whole: look at them yourself
";
        assert_eq!(told(&text, "2026-11-22T10:00:00Z", Output::Table).as_deref(), Ok(expected));
        let expected = json!({"undone": [{
            "time": "2026-11-22T10:00:00Z",
            "action": "Revoked",
            "key": {"namespace": "team-a", "name": "ci"},
            "actor": "alice",
            "remedy": "it is accepted again: revoke it again",
        }], "unreadable": 1});
        assert_eq!(told(&text, "2026-11-22T10:00:00Z", Output::Json), Ok(format!("{expected}\n")));
        let later = told(&text, "2026-11-22T10:00:01Z", Output::Table).unwrap();
        assert!(later.contains("nothing was done to a key since 2026-11-22T10:00:01Z"), "{later}");
    }
}
