//! The span that a request is part of, as its headers tell (W3C Trace Context).

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The names of the headers.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// A span of somebody else's, who has the trace recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parent(SpanContext);

impl Parent {
    /// By the values of `traceparent` and `tracestate`. `None`: nobody has the trace recorded; what is malformed counts as
    /// not there, as the standard has it.
    #[must_use]
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let fields = Fields { traceparent, tracestate };
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &fields);
        let span = context.span().span_context().clone();
        (span.is_valid() && span.is_sampled()).then_some(Self(span))
    }

    pub(super) fn context(&self) -> &SpanContext {
        &self.0
    }
}

struct Fields<'h> {
    traceparent: &'h str,
    tracestate: Option<&'h str>,
}

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.traceparent),
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_is_malformed_or_not_recorded_is_nobodys() {
        for text in [
            "",
            "-",
            "00",
            "made up",
            &format!("00-{TRACE}-{SPAN}"),
            &format!("00-{TRACE}-{SPAN}-00"),
            &format!("00-{TRACE}-{SPAN}-02"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{TRACE}-{SPAN}-zz"),
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(Parent::read(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_recorded_trace_is_taken_over() {
        for (flags, version) in [("01", "00"), ("03", "00"), ("01", "01")] {
            let text = format!("{version}-{TRACE}-{SPAN}-{flags}");
            let Parent(context) = Parent::read(&text, Some("a=b,c=d")).unwrap();
            let told = (context.trace_id().to_string(), context.span_id().to_string(), context.trace_state().header());
            assert_eq!(told, (TRACE.to_owned(), SPAN.to_owned(), "a=b,c=d".to_owned()));
        }
        assert!(Parent::read(&format!("00-{TRACE}-{SPAN}-01"), Some("no state")).is_some());
    }
}
