use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::core::report::{Line, MOST_LINES};
use crate::core::usage::Bytes;

const NOW: Duration = Duration::from_secs(100);

/// A directory that is gone when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keyturn-reader-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("keyturn.log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lines of keys, each with one byte in and two out.
fn lines(keys: &[&str]) -> String {
    let line = |key: &&str| format!("{{\"key\":\"{key}\",\"in\":1,\"out\":2,\"at\":1795305600.000}}\n");
    keys.iter().map(line).collect::<Vec<_>>().concat()
}

fn append(log: &Path, text: &str) {
    let before = fs::read_to_string(log).unwrap_or_default();
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    file.unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(fs::read_to_string(log).unwrap(), before + text);
}

/// Keys and what came in with each.
fn take(reader: &mut Reader) -> Vec<(String, u64)> {
    take_at(reader, NOW)
}

fn take_at(reader: &mut Reader, now: Duration) -> Vec<(String, u64)> {
    reader.read(now);
    let lines = reader.sums().take().into_iter();
    lines.map(|Line { key, bytes: Bytes { inward, .. }, .. }| (key, inward)).collect()
}

fn one(key: &str, inward: u64) -> (String, u64) {
    (key.to_owned(), inward)
}

fn state(reader: &Reader) -> State {
    State { read: reader.place(), pending: None }
}

#[test]
fn a_line_counts_when_it_is_whole_and_none_of_another_format_does() {
    let directory = Directory::new("whole");
    let mut reader = Reader::new(directory.log(), None, NOW).unwrap();
    assert_eq!(take(&mut reader), []);
    let line = lines(&["a"]);
    append(&directory.log(), &format!("{}127.0.0.1 - -\n\n{}", lines(&["b", "a", "b", ""]), &line[..20]));
    assert_eq!(take(&mut reader), [one("a", 1), one("b", 2)]);
    append(&directory.log(), &line[20..]);
    assert_eq!(take(&mut reader), [one("a", 1)]);
    append(&directory.log(), &format!("{}\n{line}", "x".repeat(3 * CHUNK)));
    assert_eq!(take(&mut reader), [one("a", 1)]);
}

#[test]
fn what_was_moved_away_while_nobody_read_it_is_found_again() {
    let directory = Directory::new("moved");
    append(&directory.log(), &lines(&["a"]));
    let mut reader = Reader::new(directory.log(), None, NOW).unwrap();
    assert_eq!(take(&mut reader), [one("a", 1)]);
    append(&directory.log(), &lines(&["b"]));
    fs::rename(directory.log(), directory.0.join("keyturn.log.1")).unwrap();
    append(&directory.log(), &lines(&["c"]));
    let mut next = Reader::new(directory.log(), Some(&state(&reader)), NOW).unwrap();
    // The one that was moved may still grow, so that the other one has to wait.
    assert_eq!(take(&mut next), [one("b", 1)]);
}

#[test]
fn another_file_with_the_number_of_one_that_is_gone_is_read_from_its_beginning() {
    let directory = Directory::new("number");
    append(&directory.log(), &lines(&["a", "b"]));
    let mut reader = Reader::new(directory.log(), None, NOW).unwrap();
    assert_eq!(take(&mut reader), [one("a", 1), one("b", 1)]);
    let noted = state(&reader);
    // Longer than what was read, and in the same place.
    fs::write(directory.log(), lines(&["c", "d", "e"])).unwrap();
    assert_eq!(take(&mut reader), [one("c", 1), one("d", 1), one("e", 1)]);
    let mut next = Reader::new(directory.log(), Some(&noted), NOW).unwrap();
    assert_eq!(take(&mut next), [one("c", 1), one("d", 1), one("e", 1)]);
    fs::write(directory.log(), "").unwrap();
    assert_eq!(take(&mut next), []);
}

#[test]
fn what_does_not_fit_into_a_batch_stays_in_the_log() {
    let directory = Directory::new("fit");
    let keys: Vec<String> = (0..=MOST_LINES).map(|number| format!("key_{number:05}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    append(&directory.log(), &lines(&keys));
    let mut reader = Reader::new(directory.log(), None, NOW).unwrap();
    assert_eq!(take(&mut reader).len(), MOST_LINES);
    let mut next = Reader::new(directory.log(), Some(&state(&reader)), NOW).unwrap();
    for reader in [&mut reader, &mut next] {
        assert_eq!(take(reader), [one(&format!("key_{MOST_LINES:05}"), 1)]);
    }
}

#[test]
fn a_log_that_is_gone_is_followed_by_the_one_that_is_there() {
    let directory = Directory::new("gone");
    append(&directory.log(), &lines(&["a"]));
    let reader = Reader::new(directory.log(), None, NOW).unwrap();
    let noted = state(&reader);
    let other = Directory::new("gone-other");
    append(&other.log(), &lines(&["b"]));
    let mut next = Reader::new(other.log(), Some(&noted), NOW).unwrap();
    assert_eq!(take(&mut next), [one("b", 1)]);
}

#[test]
fn files_that_were_moved_away_are_read_in_their_order_and_once() {
    let directory = Directory::new("order");
    let moved = |suffix: &str| directory.0.join(format!("keyturn.log{suffix}"));
    append(&directory.log(), &lines(&["a"]));
    let mut reader = Reader::new(directory.log(), None, NOW).unwrap();
    assert_eq!(take(&mut reader), [one("a", 1)]);
    for (suffix, key, minutes) in [(".3", "b", 3), (".2", "c", 2), (".1", "d", 1)] {
        fs::rename(directory.log(), moved(suffix)).unwrap();
        append(&moved(suffix), &lines(&[key]));
        let modified = std::time::UNIX_EPOCH + Duration::from_mins(1_000_000 - minutes);
        fs::File::options().write(true).open(moved(suffix)).unwrap().set_modified(modified).unwrap();
        append(&directory.log(), &lines(&["e"]));
    }
    append(&moved(".1.gz"), &lines(&["f"]));
    assert_eq!(take(&mut reader), [one("b", 1)]);
    let mut now = NOW;
    let mut found = Vec::new();
    for _ in 0..10 {
        now += Duration::from_secs(3);
        found.extend(take_at(&mut reader, now));
        // Somebody changes one that was read long ago.
        append(&moved(".3"), &lines(&["g"]));
    }
    assert_eq!(found, [one("c", 1), one("e", 1), one("d", 1), one("e", 1), one("e", 1)]);
}
