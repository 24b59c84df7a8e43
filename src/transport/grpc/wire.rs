//! The messages of `envoy.service.auth.v3`, as far as they are read and written here; other fields are skipped.
//!
//! Strings are bytes, and maps lists of their entries, which look alike on the wire: so a message is read in pieces of
//! the memory that it came in, and nothing is copied or hashed. Every message that is asked for by name is `required`
//! in the words of prost: absent, it is empty.

use std::fmt;

use prost::Message;
use prost::bytes::Bytes;

/// What a proxy asks. It holds credentials, so nothing of it is ever shown.
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(in crate::transport) struct CheckRequest {
    #[prost(message, required, tag = "1")]
    pub(super) attributes: AttributeContext,
}

impl fmt::Debug for CheckRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRequest").finish_non_exhaustive()
    }
}

#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct AttributeContext {
    #[prost(message, required, tag = "1")]
    pub(super) source: Peer,
    #[prost(message, required, tag = "4")]
    pub(super) request: Request,
    #[prost(message, repeated, tag = "10")]
    pub(super) context_extensions: Vec<Pair>,
    #[prost(message, required, tag = "13")]
    pub(super) route_metadata_context: Metadata,
}

/// `AttributeContext.Peer`
#[derive(Clone, Message, PartialEq)]
pub(super) struct Peer {
    #[prost(message, required, tag = "1")]
    pub(super) address: Address,
}

/// `envoy.config.core.v3.Address`
#[derive(Clone, Message, PartialEq)]
pub(super) struct Address {
    #[prost(message, required, tag = "1")]
    pub(super) socket_address: SocketAddress,
}

/// `envoy.config.core.v3.SocketAddress`
#[derive(Clone, Message, PartialEq)]
pub(super) struct SocketAddress {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) address: Bytes,
}

/// `AttributeContext.Request`
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct Request {
    #[prost(message, required, tag = "2")]
    pub(super) http: HttpRequest,
}

/// `AttributeContext.HttpRequest`
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct HttpRequest {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) method: Bytes,
    /// By name, duplicates joined by commas; empty if there is a `header_map`.
    #[prost(message, repeated, tag = "3")]
    pub(super) headers: Vec<Pair>,
    /// Path and query as sent.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) path: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) host: Bytes,
    #[prost(bytes = "bytes", tag = "11")]
    pub(super) body: Bytes,
    /// The body of a proxy with `pack_as_bytes`.
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) raw_body: Bytes,
    /// Every header line, of a proxy with `encode_raw_headers`.
    #[prost(message, optional, tag = "13")]
    pub(super) header_map: Option<HeaderMap>,
}

/// An entry of a map of strings.
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct Pair {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `envoy.config.core.v3.HeaderMap`
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(super) headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`
#[derive(Clone, Message, PartialEq)]
#[prost(skip_debug)]
pub(super) struct HeaderValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    /// Instead of `value`.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) raw_value: Bytes,
}

/// Its value may be a credential.
impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderValue").field("key", &self.key).finish_non_exhaustive()
    }
}

/// `envoy.config.core.v3.Metadata`
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct Metadata {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::transport) filter_metadata: Vec<FilterMetadata>,
}

/// An entry of `Metadata.filter_metadata`.
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct FilterMetadata {
    #[prost(bytes = "bytes", tag = "1")]
    pub(in crate::transport) filter: Bytes,
    #[prost(message, required, tag = "2")]
    pub(in crate::transport) metadata: Struct,
}

/// `google.protobuf.Struct`
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::transport) fields: Vec<Field>,
}

/// An entry of `Struct.fields`.
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct Field {
    #[prost(bytes = "bytes", tag = "1")]
    pub(in crate::transport) key: Bytes,
    #[prost(message, required, tag = "2")]
    pub(in crate::transport) value: Value,
}

/// `google.protobuf.Value`, of which one member is there.
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct Value {
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(in crate::transport) string: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    pub(in crate::transport) object: Option<Struct>,
    #[prost(message, optional, tag = "6")]
    pub(in crate::transport) list: Option<List>,
}

/// `google.protobuf.ListValue`
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::transport) values: Vec<Value>,
}

/// What a proxy is answered: one of the two members.
#[derive(Clone, Message, PartialEq)]
pub(in crate::transport) struct CheckResponse {
    #[prost(message, required, tag = "1")]
    pub(super) status: Status,
    #[prost(message, optional, tag = "2")]
    pub(super) denied: Option<DeniedHttpResponse>,
    #[prost(message, optional, tag = "3")]
    pub(super) ok: Option<OkHttpResponse>,
    /// For the proxy's access log and filters.
    #[prost(message, optional, tag = "4")]
    pub(super) dynamic_metadata: Option<Struct>,
}

/// `google.rpc.Status`; nothing passes whose code is not 0.
#[derive(Clone, Message, PartialEq)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, required, tag = "1")]
    pub(super) status: HttpStatus,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) body: Bytes,
}

/// `envoy.type.v3.HttpStatus`
#[derive(Clone, Message, PartialEq)]
pub(super) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct OkHttpResponse {
    /// For the backend.
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(super) headers_to_remove: Vec<Bytes>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub(super) response_headers_to_add: Vec<HeaderValueOption>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(super) query_parameters_to_remove: Vec<Bytes>,
}

/// `envoy.config.core.v3.HeaderValueOption`
#[derive(Clone, Message, PartialEq)]
pub(super) struct HeaderValueOption {
    #[prost(message, required, tag = "1")]
    pub(super) header: HeaderValue,
    #[prost(int32, tag = "3")]
    pub(super) append_action: i32,
}

impl HeaderValueOption {
    /// `OVERWRITE_IF_EXISTS_OR_ADD`
    const OVERWRITE: i32 = 2;

    /// A header that takes the place of every other of that name.
    pub(super) fn overwriting(key: Bytes, value: Bytes) -> Self {
        let header = HeaderValue { key, value, raw_value: Bytes::new() };
        Self { header, append_action: Self::OVERWRITE }
    }
}

impl Struct {
    /// The value of that field.
    pub(in crate::transport) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| *field.key == *name.as_bytes()).map(|field| &field.value)
    }
}
