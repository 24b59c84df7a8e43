//! Contenders that are measured in turns, so that whatever else the machine does befalls all of them alike.

use std::time::Duration;

/// Rounds that count; one more before them warms up.
const ROUNDS: usize = 10;

/// What one contender has shown in one round.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// Processor time of whoever is measured, per request.
    pub(crate) processor: Duration,
    /// What a proxy before them has had of that, per request.
    pub(crate) proxy: Option<Duration>,
    pub(crate) middle: Duration,
    pub(crate) high: Duration,
}

impl Figures {
    /// Of that many requests and their latencies.
    pub(crate) fn new(mut latencies: Vec<Duration>, took: Duration, processor: Duration) -> Self {
        latencies.sort_unstable();
        let count = latencies.len();
        Self {
            per_second: count as f64 / took.as_secs_f64(),
            processor: processor / u32::try_from(count).expect("it does not take that long"),
            proxy: None,
            middle: latencies[count / 2],
            high: latencies[count * 99 / 100],
        }
    }
}

/// How long each measurement takes: `KEYTURN_BENCH_MILLISECONDS`, or a second.
#[expect(clippy::disallowed_methods, reason = "a benchmark is told by its environment")]
pub(crate) fn time() -> Duration {
    let told = std::env::var("KEYTURN_BENCH_MILLISECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(told.unwrap_or(1_000))
}

/// Measures every contender once in each round, and prints what came of it. The first is what the others are
/// compared with: the share is its processor time divided by theirs, round by round.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn compare(title: &str, names: &[&str], mut measure: impl FnMut(usize) -> Figures) {
    let mut rounds: Vec<Vec<Figures>> = names.iter().map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for (at, figures) in rounds.iter_mut().enumerate() {
            let measured = measure(at);
            if round > 0 {
                figures.push(measured);
            }
        }
    }
    println!("\n{title}: median of {ROUNDS} rounds (lowest to highest)");
    println!(
        "{:<34} {:>22} {:>24} {:>16} {:>9} {:>9} {:>20} {:>20}",
        "",
        "requests/s",
        "CPU/request in µs",
        "of it the proxy's",
        "p50 in µs",
        "p99 in µs",
        "share by CPU",
        "share by rate"
    );
    for (name, figures) in names.iter().zip(&rounds) {
        let of = |value: &dyn Fn(&Figures) -> f64| Spread::of(figures.iter().map(value));
        let share = |value: &dyn Fn(&Figures, &Figures) -> f64| {
            Spread::of(figures.iter().zip(&rounds[0]).map(|(figures, first)| value(figures, first)))
        };
        println!(
            "{name:<34} {:>22} {:>24} {:>16} {:>9.0} {:>9.0} {:>20} {:>20}",
            of(&|figures| figures.per_second).print(0),
            of(&|figures| micros(figures.processor)).print(2),
            figures[0].proxy.map(|_| of(&|figures| figures.proxy.map_or(0.0, micros)).print(2)).unwrap_or_default(),
            of(&|figures| micros(figures.middle)).median,
            of(&|figures| micros(figures.high)).median,
            share(&|figures, first| micros(first.processor) / micros(figures.processor)).print(2),
            share(&|figures, first| figures.per_second / first.per_second).print(2),
        );
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (values[0], values[values.len() - 1]);
        Self { low, median: f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]), high }
    }

    fn print(&self, digits: usize) -> String {
        let Self { low, median, high } = self;
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}
