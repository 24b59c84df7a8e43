//! What proxies report of requests that have passed: it comes some time after the verdict, often to another process than
//! the one that gave it, and is written down with what else the key is used for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::gate::Gate;
use super::index::Index;
use crate::core::report::Line;
use crate::core::usage::{Bandwidth, Bytes};

/// Where reports are counted.
#[derive(Clone, Debug)]
pub struct Reports {
    index: Arc<Index>,
    gate: Arc<Gate>,
}

/// What came of a report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Lines that were counted.
    pub accepted: usize,
    /// Lines about keys that there are not.
    pub unknown: usize,
    /// All that was counted.
    pub bytes: Bytes,
}

impl Reports {
    /// Counts for the keys of an index while the gate says that it is complete.
    #[must_use]
    pub fn new(index: Arc<Index>, gate: Arc<Gate>) -> Self {
        Self { index, gate }
    }

    /// Counts lines that have come in now. `None`: nothing was counted, for keys may be missing here that there are.
    #[must_use]
    pub fn count(&self, lines: &[Line], now: Timestamp, since_boot: Duration) -> Option<Counted> {
        if !self.gate.is_open(since_boot) {
            return None;
        }
        let mut counted = Counted::default();
        for line in lines {
            if self.index.report(&line.key, &line.bandwidth(now), since_boot) {
                counted.accepted += 1;
                counted.bytes = counted.bytes.plus(line.bytes);
            } else {
                counted.unknown += 1;
            }
        }
        Some(counted)
    }
}

impl Index {
    /// Counts bytes that went through a proxy with the key of that `status.id`. Answers whether there is one.
    #[must_use]
    fn report(&self, id: &str, bandwidth: &Bandwidth, since_boot: Duration) -> bool {
        let Some(entry) = self.with_id(id) else { return false };
        let news = entry.counters.open().report(bandwidth);
        if news {
            self.used().enter(Arc::clone(&entry), since_boot);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::rotation::VersionState::Current;
    use crate::core::usage::{Day, Sums};
    use crate::verify::fixtures::{api, at, index, name, record, version};
    use crate::verify::gate::Watched;
    use crate::verify::index::KeyRecord;

    fn bandwidth(bytes: u64) -> Bandwidth {
        Bandwidth::of(Day::default(), Bytes { inward: bytes, outward: 10 * bytes })
    }

    fn named(uid: &str, id: Option<&str>, seed: u8) -> KeyRecord {
        let mut record = record(|key| (key.uid, key.name) = (uid.into(), name(uid)));
        (record.id, record.versions) = (id.map(str::to_owned), vec![version(1, seed, Current)]);
        record
    }

    fn known(index: &Index, id: &str) -> bool {
        index.report(id, &bandwidth(1), Duration::ZERO)
    }

    #[test]
    fn bytes_of_a_key_that_nobody_knows_are_nobodys() {
        let index = index(api(|_| {}), vec![named("a", None, 1), named("b", Some("key_b"), 2)]);
        for id in ["", "key_a", "a", "b", "key_", "key_bb"] {
            assert!(!known(&index, id), "{id}");
        }
        assert!(index.used().take().is_empty());
        assert!(known(&index, "key_b"));
        index.delete("b");
        assert!(!known(&index, "key_b"));
    }

    #[test]
    fn a_key_is_found_by_its_id_through_edits_and_lists() {
        let index = index(api(|_| {}), vec![named("a", None, 1)]);
        index.apply(named("a", Some("key_a"), 1));
        assert!(known(&index, "key_a"));
        index.change_policies(|policies| policies.tiers.clear());
        assert!(known(&index, "key_a"));
        index.reset(vec![named("b", Some("key_b"), 2)]);
        assert!(!known(&index, "key_a"));
        assert!(known(&index, "key_b"));
    }

    #[test]
    fn reports_wait_once_to_be_written_and_are_all_there() {
        let index = index(api(|_| {}), vec![named("a", Some("key_a"), 1)]);
        for bytes in [1, 2, 3] {
            assert!(index.report("key_a", &bandwidth(bytes), Duration::from_secs(bytes)));
        }
        let [key] = <[_; 1]>::try_from(index.used().take()).unwrap();
        assert_eq!((key.uid(), key.since), ("a", Duration::from_secs(1)));
        let usage = key.take();
        let sum = Sums::of(Bytes { inward: 6, outward: 60 });
        assert_eq!(usage.bandwidth.as_deref(), Some(&Bandwidth { day: Day::default(), bytes: sum }));
        assert_eq!((usage.last, usage.requests.total), (None, 0));
        assert!(!key.settle(), "nothing came meanwhile");
    }

    #[test]
    fn nothing_is_counted_while_keys_may_be_missing() {
        let index = index(api(|_| {}), vec![named("a", Some("key_a"), 1)]);
        let gate = Arc::new(Gate::new(Duration::from_hours(1)));
        let reports = Reports::new(Arc::clone(&index), Arc::clone(&gate));
        let line = |key: &str, inward| Line { key: key.into(), bytes: Bytes { inward, outward: 1 }, day: None };
        let lines = [line("key_a", 2), line("key_b", 3), line("key_a", 4)];
        let count = || reports.count(&lines, at(0), Duration::from_secs(1));
        assert_eq!(count(), None);
        gate.permit(Duration::from_secs(2));
        assert_eq!(count(), None);
        assert!(index.used().take().is_empty());
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
        let bytes = Bytes { inward: 6, outward: 2 };
        assert_eq!(count(), Some(Counted { accepted: 2, unknown: 1, bytes }));
        assert_eq!(reports.count(&lines, at(0), Duration::from_secs(2)), None, "the permit has lapsed");
    }
}
