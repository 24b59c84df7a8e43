//! `envoy.service.auth.v3` as protobuf's generated code for Rust has it, as far as Envoy's requests and the answers here go,
//! and servers that let everything pass.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::Service as _;

/// The path of the only method.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

#[derive(Clone, Message)]
pub(crate) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) attributes: Option<AttributeContext>,
}

#[derive(Clone, Message)]
pub(crate) struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    pub(crate) destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(crate) request: Option<AskedRequest>,
    #[prost(map = "string, string", tag = "10")]
    pub(crate) context_extensions: HashMap<String, String>,
}

#[derive(Clone, Message)]
pub(crate) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
}

#[derive(Clone, Message)]
pub(crate) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(crate) socket_address: Option<SocketAddress>,
}

#[derive(Clone, Message)]
pub(crate) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(uint32, tag = "3")]
    pub(crate) port_value: u32,
}

#[derive(Clone, Message)]
pub(crate) struct AskedRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) time: Option<Time>,
    #[prost(message, optional, tag = "2")]
    pub(crate) http: Option<HttpRequest>,
}

#[derive(Clone, Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, Message)]
pub(crate) struct HttpRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(string, tag = "4")]
    pub(crate) path: String,
    #[prost(string, tag = "5")]
    pub(crate) host: String,
    #[prost(string, tag = "6")]
    pub(crate) scheme: String,
    #[prost(string, tag = "10")]
    pub(crate) protocol: String,
    #[prost(message, optional, tag = "13")]
    pub(crate) header_map: Option<HeaderMap>,
}

#[derive(Clone, Message)]
pub(crate) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<HeaderValue>,
}

#[derive(Clone, Message)]
pub(crate) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) raw_value: Vec<u8>,
}

#[derive(Clone, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Okay>,
    #[prost(message, optional, tag = "3")]
    ok_response: Option<OkHttpResponse>,
}

/// `google.rpc.Status` of code 0.
#[derive(Clone, Message)]
struct Okay {}

#[derive(Clone, Message)]
struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
}

#[derive(Clone, Message)]
struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    header: Option<HeaderValue>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

/// What the gRPC port is measured by: the same connections, messages read as `M`, and an answer with these fields.
pub(crate) async fn bare<M: Message + Default + 'static>(
    listener: TcpListener,
    fields: Vec<(&'static str, &'static str)>,
) {
    let (_, health) = tonic_health::server::health_reporter();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (fields, health) = (fields.clone(), health.clone());
        let service = service_fn(move |call: Request<Incoming>| {
            let (fields, mut health) = (fields.clone(), health.clone());
            async move {
                if call.uri().path() != CHECK {
                    return health.call(call).await;
                }
                let check = tower::service_fn(|_: tonic::Request<M>| async {
                    Ok::<_, Status>(tonic::Response::new(passes(&fields)))
                });
                let mut grpc = Grpc::new(ProstCodec::<CheckResponse, M>::default());
                Ok::<_, Infallible>(grpc.unary(check, call).await)
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(1_024)
            .max_header_list_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn passes(fields: &[(&str, &str)]) -> CheckResponse {
    let header = |(key, value): &(&str, &str)| {
        let header = HeaderValue { key: (*key).to_owned(), value: (*value).to_owned(), raw_value: Vec::new() };
        HeaderValueOption { header: Some(header), append_action: 2 }
    };
    let headers = fields.iter().map(header).collect();
    CheckResponse { status: Some(Okay {}), ok_response: Some(OkHttpResponse { headers }) }
}
