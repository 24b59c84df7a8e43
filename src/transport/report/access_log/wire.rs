//! The messages of `envoy.service.accesslog.v3` and `envoy.data.accesslog.v3`, as far as they are read here; other fields,
//! which hold paths and whatever else is logged, are skipped. As in `transport::grpc::wire`, what is `required` in the words
//! of prost is empty where it is absent.

use jiff::{SignedDuration, Timestamp};
use prost::Message;
use prost::bytes::Bytes;

use crate::core::usage::{Bytes as Sizes, Day};
use crate::transport::fields::ALLOWED;
use crate::transport::grpc::wire::Metadata;

/// The filter that has asked the verifier, as metadata knows it.
const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What a proxy sends.
#[derive(Clone, Message, PartialEq)]
pub(super) struct StreamAccessLogsMessage {
    #[prost(message, required, tag = "2")]
    pub(super) http_logs: HttpAccessLogEntries,
}

/// What a proxy is answered at the end.
#[derive(Clone, Message, PartialEq)]
pub(super) struct StreamAccessLogsResponse {}

/// `StreamAccessLogsMessage.HTTPAccessLogEntries`
#[derive(Clone, Message, PartialEq)]
pub(super) struct HttpAccessLogEntries {
    #[prost(message, repeated, tag = "1")]
    pub(super) log_entry: Vec<Entry>,
}

/// `HTTPAccessLogEntry`
#[derive(Clone, Message, PartialEq)]
pub(super) struct Entry {
    #[prost(message, required, tag = "1")]
    pub(super) common: Common,
}

/// `AccessLogCommon`
#[derive(Clone, Message, PartialEq)]
pub(super) struct Common {
    #[prost(message, required, tag = "5")]
    pub(super) start_time: Time,
    /// Of every filter.
    #[prost(message, required, tag = "17")]
    pub(super) metadata: Metadata,
    #[prost(message, required, tag = "23")]
    pub(super) duration: Time,
    /// There will be another about the same request, with all bytes of this one in it.
    #[prost(bool, tag = "27")]
    pub(super) intermediate: bool,
    /// Of the response, with everything that HTTP adds.
    #[prost(uint64, tag = "29")]
    pub(super) sent: u64,
    #[prost(uint64, tag = "30")]
    pub(super) received: u64,
    /// `AccessLogType`
    #[prost(int32, tag = "33")]
    pub(super) kind: i32,
}

/// `google.protobuf.Timestamp` and `google.protobuf.Duration`, which look alike.
#[derive(Clone, Copy, Message, PartialEq)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `AccessLogType.NotSet`, of proxies that do not tell.
pub(super) const NOT_SET: i32 = 0;

/// `AccessLogType.DownstreamEnd`: the client has been answered.
pub(super) const DOWNSTREAM_END: i32 = 6;

impl Entry {
    /// The key with which the request was let in, as the verifier has told the proxy; `None`: it is nobody's, or there is
    /// another entry about it.
    pub(super) fn key(&self) -> Option<&Bytes> {
        if self.common.intermediate || ![NOT_SET, DOWNSTREAM_END].contains(&self.common.kind) {
            return None;
        }
        let all = &self.common.metadata.filter_metadata;
        let told = &all.iter().find(|entry| *entry.filter == *EXT_AUTHZ.as_bytes())?.metadata;
        let text = |name| told.field(name).and_then(|value| value.string.as_ref());
        // In audit mode a key that is not good is nobody's.
        let is_let_in = text("code").is_some_and(|code| **code == *ALLOWED.as_bytes()) && text("would_deny").is_none();
        text("key").filter(|_| is_let_in)
    }

    /// What went over the client's connection.
    pub(super) fn bytes(&self) -> Sizes {
        Sizes { inward: self.common.received, outward: self.common.sent }
    }

    /// The day on which the request ended; `None`: the proxy does not tell.
    pub(super) fn day(&self) -> Option<Day> {
        let Common { start_time, duration, .. } = self.common;
        let began = Timestamp::new(start_time.seconds, start_time.nanos).ok().filter(|_| start_time.seconds != 0)?;
        let nanos = SignedDuration::from_nanos(duration.nanos.into());
        let lasted = SignedDuration::from_secs(duration.seconds).checked_add(nanos)?;
        began.checked_add(lasted).ok().map(Day::of)
    }
}
