//! Requests that somebody follows through several services: what was decided becomes a span of their trace.

use std::sync::Arc;
use std::time::SystemTime;

use super::answer::Instant;
use super::fields;
use crate::core::verdict::{Code, Denial};
use crate::spans::{Decision, Parent, Spans, TRACEPARENT, TRACESTATE};
use crate::verify::engine::Verdict;
use crate::verify::request::Headers;

/// One such request.
pub(super) struct Followed<'a> {
    spans: &'a Spans,
    parent: Parent,
    protocol: &'static str,
}

impl<'a> Followed<'a> {
    /// Whether somebody has the request's trace recorded.
    pub(super) fn find(
        spans: Option<&'a Arc<Spans>>,
        protocol: &'static str,
        headers: &(impl Headers + ?Sized),
    ) -> Option<Self> {
        let spans = spans?;
        // Most requests come without.
        let traceparent = only(headers, TRACEPARENT)?;
        let parent = Parent::read(traceparent, only(headers, TRACESTATE))?;
        Some(Self { spans, parent, protocol })
    }

    /// Tells what the request came to.
    pub(super) fn came_to(&self, verdict: &Verdict, began: Instant, ended: Instant) {
        let code = |denial: &Denial| denial.code.as_str();
        let decision = Decision {
            protocol: self.protocol,
            api: verdict.api.as_ref().map(|api| (&*api.name.namespace, &*api.name.name)),
            route: verdict.route.as_ref().map(|route| &*route.name),
            code: verdict.denial.as_ref().map_or(fields::ALLOWED, code),
            would_deny: verdict.would_deny.as_ref().map(code),
            key: verdict.identity.as_ref().map(|identity| identity.entry().id()),
            is_failure: verdict.denial.as_ref().is_some_and(|denial| denial.code == Code::Unavailable),
        };
        let took = ended.since_boot.saturating_sub(began.since_boot);
        self.spans.record(&self.parent, SystemTime::from(began.now), took, decision);
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h (impl Headers + ?Sized), name: &'h str) -> Option<&'h str> {
    let mut values = headers.values(name);
    let only = values.next().filter(|_| values.next().is_none());
    only.and_then(|value| std::str::from_utf8(value).ok())
}
