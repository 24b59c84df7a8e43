//! What proxies have reported.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of reports.
#[derive(Debug)]
pub struct Reports {
    batches: Family<BatchLabels, Counter>,
    lines: Family<LineLabels, Counter>,
    bytes: Family<ByteLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BatchLabels {
    outcome: Batch,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LineLabels {
    outcome: ReportLine,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByteLabels {
    direction: Direction,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Batch {
    Counted,
    /// It was counted before.
    Repeated,
    /// It is not as it should be, or too large.
    Refused,
    /// Its sender has not proven who it is.
    Unauthorized,
    /// This process knows no keys at the moment.
    Unavailable,
}

/// What became of the lines of a batch.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum ReportLine {
    Accepted,
    /// Nobody has the key.
    Unknown,
    /// Some line of the batch is not as it should be.
    Refused,
}

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum Direction {
    In,
    Out,
}

impl Reports {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let batches = Family::default();
        registry.register("report_batches", "Batches that log shippers have sent, by outcome", batches.clone());
        let lines = Family::default();
        registry.register("report_lines", "Lines that log shippers have sent, by outcome", lines.clone());
        let bytes = Family::default();
        let help = "What keys were reported to have sent (In) and received (Out)";
        registry.register_with_unit("report", help, Unit::Bytes, bytes.clone());
        Self { batches, lines, bytes }
    }

    /// Counts a batch.
    pub fn batch(&self, outcome: Batch) {
        self.batches.get_or_create(&BatchLabels { outcome }).inc();
    }

    /// Counts lines of a batch.
    pub fn lines(&self, outcome: ReportLine, count: usize) {
        self.lines.get_or_create(&LineLabels { outcome }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts bytes from and to clients.
    pub fn bytes(&self, inward: u64, outward: u64) {
        for (direction, bytes) in [(Direction::In, inward), (Direction::Out, outward)] {
            self.bytes.get_or_create(&ByteLabels { direction }).inc_by(bytes);
        }
    }
}
