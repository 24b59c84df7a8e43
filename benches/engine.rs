//! What a decision costs without any transport: `Engine::verify` for keys with one scope and one CIDR range, drawn
//! uniformly from the whole index, beside what could not be left out of it.
//!
//! `cargo bench --bench engine` prints the bytes that a key takes, too.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its figures and ends at a surprise")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use foldhash::fast::RandomState;
use jiff::Timestamp;
use keyturn::core::digest::Digest;

use fleet::{Fleet, Kind, Presented, Random, presented, verify};

#[path = "support/fleet.rs"]
mod fleet;

const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

/// At this size, keys with other limits are measured, too.
const SIZE_OF_KINDS: usize = 100_000;

/// When the requests begin.
const BEGAN: Timestamp = Timestamp::UNIX_EPOCH;

/// Keys that stay in the processor's caches, however many others there are.
const FEW: usize = 1_000;

/// Requests that are prepared together, outside of what is timed: their headers stay in the cache, as those of
/// a request that has just been parsed are.
const BATCH: usize = 256;

/// Pages that the process keeps in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

/// Makes a fleet and prints what the index grew by. Resident memory only tells something as long as the allocator has
/// nothing left of an earlier fleet.
fn filled(size: usize, kind: Kind) -> Fleet {
    // Strings and digests are there in both, so that they drop out of the difference.
    let empty = allocation_counter::measure(|| drop(fleet::strings(size, size as u64)));
    let before = resident();
    let mut fleet = None;
    let heap = allocation_counter::measure(|| fleet = Some(Fleet::new(size, kind)));
    let fleet = fleet.unwrap();
    let beside: usize =
        fleet.strings.iter().map(|string| string.len() + size_of::<String>() + size_of::<Digest>()).sum();
    let (keys, beside) = (i64::try_from(size).unwrap(), i64::try_from(beside).unwrap());
    let grown = i64::try_from(resident().saturating_sub(before)).unwrap();
    println!(
        "{keys} {kind:?} keys: {} bytes of heap and {} bytes of resident memory each",
        (heap.bytes_current - empty.bytes_current - beside) / keys,
        (grown - beside) / keys
    );
    fleet
}

/// Nanoseconds per judgement of every batch: on a machine that others use too, the quickest tenth tells what a
/// judgement costs and the rest what the others do.
#[derive(Default)]
struct Spread(Vec<f64>);

impl Spread {
    fn print(mut self, name: &str) {
        self.0.sort_unstable_by(f64::total_cmp);
        let quantile = |tenths: usize| self.0.get(self.0.len() * tenths / 10).copied().unwrap_or(f64::NAN);
        let [low, middle, high] = [1, 5, 9].map(quantile);
        println!("{name}: p10 {low:.0} ns, p50 {middle:.0} ns, p90 {high:.0} ns over batches of {BATCH}");
    }
}

/// Times `judge` for things that `prepare` makes of numbers drawn uniformly below `size`, a batch at a time.
fn drawn<T>(
    bencher: &mut Bencher<'_>,
    spread: &mut Spread,
    size: usize,
    mut prepare: impl FnMut(usize) -> T,
    mut judge: impl FnMut(&T),
) {
    let mut random = Random(1);
    let mut batch = Vec::with_capacity(BATCH);
    bencher.iter_custom(|iterations| {
        let mut total = Duration::ZERO;
        let mut left = usize::try_from(iterations).unwrap();
        while left > 0 {
            batch.clear();
            batch.extend((0..left.min(BATCH)).map(|_| prepare(random.below(size))));
            let start = WallTime.start();
            batch.iter().for_each(&mut judge);
            let elapsed = WallTime.end(start);
            if batch.len() == BATCH {
                spread.0.push(elapsed.as_secs_f64() * 1e9 / BATCH as f64);
            }
            total += elapsed;
            left -= batch.len();
        }
        total
    });
}

/// Runs what `drawn` is to time, and prints its spread beside criterion's figures.
fn bench(criterion: &mut Criterion, name: &str, mut run: impl FnMut(&mut Bencher<'_>, &mut Spread)) {
    let mut spread = Spread::default();
    criterion.bench_function(name, |bencher| run(bencher, &mut spread));
    spread.print(name);
}

fn of_sizes(criterion: &mut Criterion) {
    for size in SIZES {
        let fleet = filled(size, Kind::Limited);
        let (engine, unknown) = (fleet.engine(), fleet::strings(size, 0));
        let admit = |key: &Presented| assert_eq!(verify(&engine, key), None);
        fleet.warm(&engine, BEGAN);
        bench(criterion, &format!("verify/{size}"), |bencher, spread| {
            drawn(bencher, spread, size, presented(&fleet.strings, BEGAN), admit);
        });
        if size > FEW {
            bench(criterion, &format!("verify {FEW} of them/{size}"), |bencher, spread| {
                drawn(bencher, spread, FEW, presented(&fleet.strings, BEGAN), admit);
            });
        }
        bench(criterion, &format!("verify an unknown key/{size}"), |bencher, spread| {
            let refuse = |key: &Presented| assert!(verify(&engine, key).is_some());
            drawn(bencher, spread, size, presented(&unknown, BEGAN), refuse);
        });
        bench(criterion, &format!("digest alone/{size}"), |bencher, spread| {
            let digest = |key: &String| {
                black_box(fleet.pepper.digest_of(key.as_bytes()));
            };
            drawn(bencher, spread, size, |at| fleet.strings[at].clone(), digest);
        });
        let map: HashMap<_, _, RandomState> = fleet.digests.iter().copied().zip(0..).collect();
        bench(criterion, &format!("HashMap look-up alone/{size}"), |bencher, spread| {
            let look_up = |digest: &Digest| {
                black_box(map.get(digest));
            };
            drawn(bencher, spread, size, |at| fleet.digests[at], look_up);
        });
    }
}

fn of_kinds(criterion: &mut Criterion) {
    for kind in [Kind::Unlimited, Kind::Limited, Kind::Owned, Kind::Metered] {
        let fleet = filled(SIZE_OF_KINDS, kind);
        let engine = fleet.engine();
        fleet.warm(&engine, BEGAN);
        for (of, size) in [("", SIZE_OF_KINDS), (" few of", FEW)] {
            bench(criterion, &format!("verify{of} {kind:?}/{SIZE_OF_KINDS}"), |bencher, spread| {
                let admit = |key: &Presented| assert_eq!(verify(&engine, key), None);
                drawn(bencher, spread, size, presented(&fleet.strings, BEGAN), admit);
            });
        }
    }
}

criterion_group!(benches, of_sizes, of_kinds);
criterion_main!(benches);
