//! docs/operations/logs.md, and the events in the sources.

use std::collections::BTreeSet;
use std::fs;

use super::{files, page, quoted, rows};
use crate::architecture::imports::without_comments_and_literals;
use crate::support::root;

/// The levels of which every event is listed.
const LEVELS: [&str; 3] = ["error", "warn", "info"];

/// What a line in JSON has of its own; a field of that name would be there twice.
const RESERVED: [&str; 6] = ["timestamp", "level", "target", "message", "span", "spans"];

/// One way in which the log is written to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Event {
    /// With `…` for what differs.
    pub(crate) message: String,
    pub(crate) level: String,
    pub(crate) fields: BTreeSet<String>,
}

impl Event {
    /// Its row in the page.
    fn row(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|field| format!("`{field}`")).collect();
        format!("| `{}` | {} | {} |", self.message, self.level, fields.join(" "))
    }
}

/// The events that a source writes outside of its tests.
fn events(text: &str) -> Vec<Event> {
    let event =
        |level| calls(text, &format!("{level}!")).into_iter().filter_map(move |arguments| event(level, &arguments));
    LEVELS.into_iter().flat_map(event).collect()
}

/// The arguments of each call of that name outside of tests.
pub(super) fn calls<'t>(text: &'t str, name: &str) -> Vec<Vec<&'t str>> {
    let text = text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests]);
    let code = without_comments_and_literals(text);
    let call = format!("{name}(");
    let begins = |at: &usize| !code[..*at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
    let calls = code.match_indices(&call).map(|(at, _)| at).filter(begins);
    calls.map(|at| arguments(text, &code, at + call.len())).collect()
}

/// The arguments of the call whose parentheses open before `from`.
fn arguments<'t>(text: &'t str, code: &str, from: usize) -> Vec<&'t str> {
    let (mut depth, mut begin, mut found) = (0_usize, from, Vec::new());
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b',' | b')' if depth == 0 => {
                found.push(text[begin..at].trim());
                begin = at + 1;
                if byte == b')' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// `None` for the audit log, which has a vocabulary of its own.
fn event(level: &str, arguments: &[&str]) -> Option<Event> {
    let at = arguments.iter().position(|argument| argument.starts_with('"'))?;
    if arguments[..at].iter().any(|argument| argument.starts_with("target:")) {
        return None;
    }
    let name = |argument: &&str| {
        let name = argument.split('=').next().unwrap_or_default().trim();
        name.trim_start_matches(['%', '?']).to_owned()
    };
    let fields = arguments[..at].iter().map(name).collect();
    Some(Event { message: message(arguments[at].trim_matches('"')), level: level.to_owned(), fields })
}

/// A format string with `…` for what is put in.
fn message(format: &str) -> String {
    let mut parts = format.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "…" + part.split_once('}').map_or(part, |(_, rest)| rest))
}

/// Everything that the sources write.
fn written() -> BTreeSet<Event> {
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    let own = sources.iter().filter(|path| !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"));
    own.flat_map(|path| events(&fs::read_to_string(path).expect("a source is text"))).collect()
}

/// What the page lists.
pub(crate) fn documented() -> BTreeSet<Event> {
    let page = page("docs/operations/logs.md");
    let event = |row: Vec<&str>| Event {
        message: quoted(row[0]).next().unwrap_or_default().to_owned(),
        level: row[1].to_owned(),
        fields: quoted(row[2]).map(str::to_owned).collect(),
    };
    rows(&page).filter(|row| row.len() == 3 && LEVELS.contains(&row[1])).map(event).collect()
}

#[test]
fn the_page_lists_every_event_of_the_log_and_no_other() {
    let (written, documented) = (written(), documented());
    assert!(written.len() > 80, "events are written in another way: {written:?}");
    let missing: Vec<_> = written.difference(&documented).map(Event::row).collect();
    assert!(missing.is_empty(), "docs/operations/logs.md lacks\n{}", missing.join("\n"));
    let gone: Vec<_> = documented.difference(&written).map(Event::row).collect();
    assert!(gone.is_empty(), "docs/operations/logs.md lists what there is not\n{}", gone.join("\n"));
}

#[test]
fn the_page_explains_every_field_and_no_other() {
    let page = page("docs/operations/logs.md");
    let fields: BTreeSet<String> = written().into_iter().flat_map(|event| event.fields).collect();
    assert!(RESERVED.iter().all(|name| !fields.contains(*name)), "{fields:?}");
    let named =
        rows(&page).filter(|row| row.len() == 2).flat_map(|row| quoted(row[0]).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(named.collect::<BTreeSet<_>>(), fields);
}

#[test]
fn events_are_found_in_sources() {
    let source = r#"
        info!(address = %judging, ?pause, "serving {} of {name}", count(1, 2)); // warn!("no")
        tracing::warn!(
            error = chain(&[error, "a, b"]),
            "it failed; it is tried again"
        );
        info!(target: AUDIT_TARGET, "{line}");
        my_error!("no");
        debug!("not listed");
        "debug!(no)"
    "#;
    let event = |level: &str, message: &str, fields: &[&str]| Event {
        message: message.to_owned(),
        level: level.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let expected = [
        event("warn", "it failed; it is tried again", &["error"]),
        event("info", "serving … of …", &["address", "pause"]),
    ];
    assert_eq!(events(source), expected);
}
