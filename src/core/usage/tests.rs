use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// A request at a second after a midnight that ends a month: 2026-12-01T00:00:00Z.
#[derive(Clone, Copy, Debug)]
struct Request {
    second: i64,
    from: u8,
    version: u32,
    code: Option<&'static str>,
    /// What a proxy reports of it.
    bytes: Option<Bytes>,
}

const MIDNIGHT: i64 = 1_796_083_200;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(MIDNIGHT + second).unwrap()
}

fn last(second: i64, from: u8) -> LastUse {
    LastUse { at: at(second), from: Some([10, 0, 0, from].into()) }
}

fn count(requests: &[Request]) -> Usage {
    let mut usage = Usage::default();
    for Request { second, from, version, code, bytes } in requests {
        match code {
            None => usage.allowed(last(*second, *from), *version, None),
            Some(code) => usage.denied(code),
        }
        bytes.iter().for_each(|bytes| usage.reported(&Bandwidth::of(Day::of(at(*second)), *bytes)));
    }
    usage
}

fn allowed(second: i64) -> Request {
    Request { second, from: 1, version: 1, code: None, bytes: None }
}

fn requests(seconds: &[i64]) -> (u64, u64, u64) {
    let seconds: Vec<_> = seconds.iter().map(|second| allowed(*second)).collect();
    let Requests { today, this_month, total } = count(&seconds).requests;
    (today, this_month, total)
}

#[test]
fn days_and_months_roll_over_at_midnight_utc() {
    const DAY: i64 = 86_400;
    for (seconds, expected) in [
        (&[][..], (0, 0, 0)),
        (&[-2, -1], (2, 2, 2)),
        (&[-1, 0], (1, 1, 2)),
        (&[0, DAY - 1, DAY], (1, 3, 3)),
        (&[-DAY - 1, -DAY, -1], (2, 3, 3)),
        (&[0, 31 * DAY - 1, 31 * DAY], (1, 1, 3)),
        // The same day of the year before.
        (&[-365 * DAY, 0, 1], (2, 2, 3)),
    ] {
        assert_eq!(requests(seconds), expected, "{seconds:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_from_the_total() {
    assert_eq!(requests(&[0, 1, -1, -2, 2]), (3, 3, 5));
    let usage = count(&[allowed(5), Request { from: 9, ..allowed(3) }]);
    assert_eq!(usage.last, Some(last(5, 1)));
    assert_eq!(usage.versions.as_slice(), [VersionUse { number: 1, at: at(5) }]);
}

#[test]
fn the_newest_versions_are_remembered() {
    let requests: Vec<_> = [3, 1, 2, 6, 5, 4, 2]
        .into_iter()
        .zip(0..)
        .map(|(version, second)| Request { version, ..allowed(second) })
        .collect();
    let numbers: Vec<_> = count(&requests).versions.iter().map(|version| (version.number, version.at)).collect();
    assert_eq!(numbers, [(6, at(3)), (5, at(4)), (4, at(5)), (3, at(0))]);
}

#[test]
fn a_refused_request_is_counted_by_its_code_alone() {
    let denied = |code| Request { code: Some(code), ..allowed(7) };
    let usage = count(&[denied("REVOKED"), allowed(1), denied("EXPIRED"), denied("REVOKED")]);
    let codes: Vec<_> = usage.denied.iter().map(|(code, count)| (code.as_str(), *count)).collect();
    assert_eq!(codes, [("EXPIRED", 1), ("REVOKED", 2)]);
    assert_eq!((usage.last, usage.requests.total), (Some(last(1, 1)), 1));
    assert!(!count(&[denied("REVOKED")]).is_empty());
    assert!(count(&[]).is_empty());
}

fn bytes(inward: u64, outward: u64) -> Bytes {
    Bytes { inward, outward }
}

#[test]
fn a_report_counts_on_the_day_of_its_requests_and_as_no_request() {
    const DAY: i64 = 86_400;
    let mut usage = count(&[allowed(1)]);
    let before = usage.clone();
    for (second, reported, today, this_month, total) in [
        (0, bytes(1, 10), bytes(1, 10), bytes(1, 10), bytes(1, 10)),
        (DAY, bytes(2, 20), bytes(2, 20), bytes(3, 30), bytes(3, 30)),
        // Late, of the day before.
        (DAY - 1, bytes(4, 40), bytes(2, 20), bytes(7, 70), bytes(7, 70)),
        // Later still, of the month before.
        (-1, bytes(8, 80), bytes(2, 20), bytes(7, 70), bytes(15, 150)),
        (31 * DAY, bytes(16, 160), bytes(16, 160), bytes(16, 160), bytes(31, 310)),
    ] {
        usage.reported(&Bandwidth::of(Day::of(at(second)), reported));
        let known = usage.bandwidth.as_deref().map(|it| it.bytes);
        assert_eq!(known, Some(Sums { today, this_month, total }), "{second}");
    }
    assert_eq!(Usage { bandwidth: None, ..usage }, before);
}

#[test]
fn bytes_alone_are_something_to_be_written_and_never_more_than_can_be_stored() {
    let mut usage = Usage::default();
    for _ in 0..2 {
        usage.reported(&Bandwidth::of(Day::default(), bytes(u64::MAX, 1)));
    }
    assert!(!usage.is_empty());
    let total = usage.bandwidth.map(|it| it.bytes.total);
    assert_eq!(total, Some(bytes(i64::MAX.unsigned_abs(), 2)));
}

#[test]
fn what_was_taken_is_counted_no_more() {
    let reported = Request { bytes: Some(bytes(5, 6)), ..allowed(1) };
    let mut usage = count(&[reported, Request { code: Some("REVOKED"), ..allowed(2) }]);
    usage.allowed(last(3, 1), 1, Some(&"read".into()));
    let before = usage.clone();
    assert_eq!(usage.take(), before);
    assert_eq!(usage, Usage::default());
}

#[test]
fn no_more_codes_are_kept_than_can_be_stored() {
    let mut usage = Usage::default();
    let codes = (0..100).map(|code| (format!("CODE_{code:02}"), 1));
    usage.merge(&Usage { denied: codes.collect(), ..Usage::default() });
    assert_eq!(usage.denied.len(), MOST_CODES);
}

fn histories() -> impl Strategy<Value = Vec<Request>> {
    let second = prop_oneof![-3 * 86_400..40 * 86_400_i64, -3..3_i64];
    let code = prop_oneof![3 => Just(None), 1 => Just(Some("REVOKED")), 1 => Just(Some("EXPIRED"))];
    let bytes = (0..9_u64, 0..99_u64).prop_map(|(inward, outward)| Bytes { inward, outward });
    let request = (second, 0..3_u8, 1..7_u32, code, prop::option::of(bytes));
    let request =
        request.prop_map(|(second, from, version, code, bytes)| Request { second, from, version, code, bytes });
    prop::collection::vec(request, 0..40)
}

/// Computed from all requests at once, apart from the code under test.
fn expected(all: &[Request]) -> Requests {
    let allowed: Vec<Timestamp> = all.iter().filter(|it| it.code.is_none()).map(|it| at(it.second)).collect();
    let Some(last) = allowed.iter().max() else { return Requests::default() };
    let date = |at: &Timestamp| TimeZone::UTC.to_datetime(*at).date();
    let same =
        |which: &dyn Fn(&Timestamp) -> bool| u64::try_from(allowed.iter().filter(|at| which(at)).count()).unwrap();
    Requests {
        today: same(&|at| date(at) == date(last)),
        this_month: same(&|at| date(at).first_of_month() == date(last).first_of_month()),
        total: same(&|_| true),
    }
}

/// As [`expected`], of what was reported.
fn expected_bytes(all: &[Request]) -> Option<Sums<Bytes>> {
    let reported: Vec<_> = all.iter().filter_map(|it| Some((at(it.second), it.bytes?))).collect();
    let last = reported.iter().map(|(at, _)| *at).max()?;
    let date = |at: Timestamp| TimeZone::UTC.to_datetime(at).date();
    let same = |which: &dyn Fn(Timestamp) -> bool| {
        let bytes = reported.iter().filter(|(at, _)| which(*at)).map(|(_, bytes)| *bytes);
        bytes.fold(Bytes::default(), Bytes::plus)
    };
    Some(Sums {
        today: same(&|at| date(at) == date(last)),
        this_month: same(&|at| date(at).first_of_month() == date(last).first_of_month()),
        total: same(&|_| true),
    })
}

proptest! {
    #[test]
    fn however_requests_are_spread_over_processes_the_sum_is_that_of_all(
        requests in histories(), owner in prop::collection::vec(0..3_usize, 40),
    ) {
        let of = |process| -> Vec<_> {
            let own = requests.iter().zip(&owner).filter(|(_, owner)| **owner == process);
            own.map(|(request, _)| *request).collect()
        };
        let parts = [0, 1, 2].map(|process| count(&of(process)));
        let all = count(&requests);
        prop_assert_eq!(all.requests, expected(&requests));
        prop_assert_eq!(all.bandwidth.as_deref().map(|it| it.bytes), expected_bytes(&requests));
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut merged = Usage::default();
            order.iter().for_each(|part| merged.merge(&parts[*part]));
            prop_assert_eq!(&merged, &all);
        }
    }

    #[test]
    fn merging_is_commutative_and_associative(a in histories(), b in histories(), c in histories()) {
        let [a, b, c] = [a, b, c].map(|requests| count(&requests));
        let merge = |one: &Usage, other: &Usage| {
            let mut merged = one.clone();
            merged.merge(other);
            merged
        };
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        prop_assert_eq!(merge(&a, &Usage::default()), a);
    }
}
