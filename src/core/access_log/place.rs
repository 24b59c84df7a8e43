//! How far a log has been read, and where it goes on: a log may be moved away and begun anew, or cut to nothing where
//! it is, while somebody reads it and while nobody does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest mark, in bytes.
const LONGEST_MARK: usize = 128;

/// For how long a log that was moved away may still grow: proxies go on writing there until they are told to open it anew.
const LINGER: Duration = Duration::from_secs(3);

/// A file, whatever its name is. The numbers of one that is gone are given to others.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// The end of what was read of a file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// In bytes, after the end of a line.
    pub offset: u64,
    /// What stands before it. In a file that was begun anew something else does.
    mark: String,
}

impl Place {
    /// Where to read from, so that the mark is read again.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.offset.saturating_sub(u64::try_from(self.mark.len()).unwrap_or(u64::MAX))
    }

    /// What is new of that which was read; `None`: this is not what was read before, and has to be read from its beginning.
    #[must_use]
    pub fn news<'r>(&self, read: &'r [u8]) -> Option<&'r [u8]> {
        read.strip_prefix(self.mark.as_bytes())
    }

    /// Goes on after this, which begins here.
    pub fn pass(&mut self, read: &[u8]) {
        if read.is_empty() {
            return;
        }
        self.offset += u64::try_from(read.len()).unwrap_or(u64::MAX);
        let mark = &read[read.len().saturating_sub(LONGEST_MARK)..];
        // What is no text is in no log of ours; without a mark nothing is compared.
        self.mark = String::from_utf8(mark.to_vec()).unwrap_or_default();
    }
}

/// A file of a log as it is found on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogFile {
    pub id: FileId,
    /// Unix time of its last change.
    pub modified: Duration,
}

/// Whether a file name is that of a log `name` which was moved away: `name.1`, `name-20261122`. Compressed ones are
/// not read.
#[must_use]
pub fn is_rotated(file: &str, name: &str) -> bool {
    let suffix = file.strip_prefix(name).unwrap_or_default();
    suffix.len() > 1
        && suffix.starts_with(['.', '-'])
        && suffix[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// The file to go on with when `current` is read to its end and has not grown for so long: the oldest that was moved away
/// after it, at last the one under the log's own name. `None`: with this one still.
#[must_use]
pub fn next_file(current: LogFile, quiet: Duration, named: Option<LogFile>, rotated: &[LogFile]) -> Option<LogFile> {
    let named = named?;
    if named.id == current.id || quiet < LINGER {
        return None;
    }
    let later = rotated.iter().filter(|file| file.id != named.id && file.id != current.id);
    let next = later.filter(|file| file.modified > current.modified).min_by_key(|file| file.modified);
    Some(next.copied().unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_begun_anew_is_noticed() {
        let mut place = Place::default();
        assert_eq!((place.from(), place.news(b"first\n")), (0, Some(&b"first\n"[..])));
        place.pass(b"first\n");
        assert_eq!((place.offset, place.from()), (6, 0));
        for (read, news) in [
            (&b"first\nsecond\n"[..], Some(&b"second\n"[..])),
            (b"first\n", Some(b"")),
            (b"firs", None),
            (b"", None),
            (b"other\nsecond\n", None),
        ] {
            assert_eq!(place.news(read), news, "{read:?}");
        }
        let long = [b"x".repeat(500), b"\n".to_vec()].concat();
        place.pass(&long);
        assert_eq!((place.offset, place.from()), (507, 507 - 128));
        // Nothing to compare with.
        place.pass(b"\xff\n");
        assert_eq!((place.offset, place.from(), place.news(b"y")), (509, 509, Some(&b"y"[..])));
    }

    #[test]
    fn only_logs_that_were_moved_away_are_read() {
        for (file, expected) in [
            ("a.log.1", true),
            ("a.log-20261122", true),
            ("a.log.12-3", true),
            ("a.log", false),
            ("a.log.", false),
            ("a.log.1.gz", false),
            ("a.log.bak", false),
            ("a.log.shipped", false),
            ("a.log1", false),
            ("b.log.1", false),
        ] {
            assert_eq!(is_rotated(file, "a.log"), expected, "{file}");
        }
    }

    #[test]
    fn a_log_goes_on_in_the_oldest_file_that_was_moved_away_after_it() {
        let file =
            |inode, modified| LogFile { id: FileId { device: 1, inode }, modified: Duration::from_secs(modified) };
        let (current, named, long) = (file(1, 100), Some(file(2, 300)), LINGER);
        for (quiet, named, rotated, expected) in [
            (long, None, &[][..], None),
            (long, Some(file(1, 100)), &[], None),
            // It may still be written to.
            (long.saturating_sub(Duration::from_millis(1)), named, &[], None),
            (long, named, &[], named),
            (long, named, &[file(1, 100), file(2, 300)], named),
            // Those before it were read long ago.
            (long, named, &[file(3, 99), file(4, 100)], named),
            (long, named, &[file(3, 99), file(5, 250), file(6, 200)], Some(file(6, 200))),
        ] {
            assert_eq!(next_file(current, quiet, named, rotated), expected, "{quiet:?} {named:?} {rotated:?}");
        }
    }
}
