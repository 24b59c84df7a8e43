//! The real API server behind a door that fails as a test says: calls are refused, answers are lost or changed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use futures::{StreamExt as _, TryStreamExt as _};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::process::scratch;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// A call on its way to the API server.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Such as `/api/v1/namespaces/it-1/secrets/ci`.
    pub(crate) path: String,
    pub(crate) query: String,
    /// `Null` where there is none.
    pub(crate) body: Value,
}

impl Call {
    /// Whether it changes something that Keyturn answers for: Leases and events tell, they decide nothing.
    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET && !self.concerns("leases") && !self.concerns("events")
    }

    /// Whether it is about objects of this plural name.
    pub(crate) fn concerns(&self, plural: &str) -> bool {
        self.path.split('/').any(|segment| segment == plural)
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }
}

/// Changes every object that a list or a watch tells of.
pub(crate) type Tamper = fn(&mut Value);

/// Changes the header fields of an answer.
pub(crate) type Dress = fn(&mut HeaderMap);

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: it reaches the server, and the answer the caller.
    Pass,
    /// It does not reach the server; the caller is answered this, with a `Status` of this reason.
    Answer(u16, &'static str),
    /// It takes effect, and the caller is answered this.
    AnswerAfter(u16, &'static str),
    /// It takes effect, and the connection breaks.
    BreakAfter,
    /// It does not reach the server, and is never answered.
    Hang,
    /// It takes effect, of which the test is told, and is never answered.
    HangAfter(Arc<Notify>),
    /// It takes effect, of which the test is told, and is answered when the test says so.
    Hold(Held),
    /// The answer's objects are changed on their way back.
    Tamper(Tamper),
    /// The answer's header fields are changed on their way back.
    Dress(Dress),
}

/// A call whose answer is under way for as long as a test likes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) arrived: Arc<Notify>,
    pub(crate) release: Arc<Notify>,
}

type Rule = Box<dyn FnMut(&Call) -> Fault + Send>;

struct Door {
    server: Client,
    rule: Mutex<Rule>,
    accepted: Mutex<Vec<Call>>,
}

/// Listens on loopback until it is dropped.
pub(crate) struct FaultyApiServer {
    address: SocketAddr,
    door: Arc<Door>,
    /// Ends with it.
    _connections: JoinSet<()>,
}

impl FaultyApiServer {
    /// In front of the server that `client` talks to, with its rights; `rule` is asked about every call.
    pub(crate) async fn start(client: &Client, rule: impl FnMut(&Call) -> Fault + Send + 'static) -> Self {
        let door =
            Arc::new(Door { server: client.clone(), rule: Mutex::new(Box::new(rule)), accepted: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&door)));
        Self { address, door, _connections: connections }
    }

    /// From now on this rule is asked.
    pub(crate) fn rule(&self, rule: impl FnMut(&Call) -> Fault + Send + 'static) {
        *lock(&self.door.rule) = Box::new(rule);
    }

    /// The writes that the server took, in their order.
    pub(crate) fn accepted_writes(&self) -> Vec<Call> {
        lock(&self.door.accepted).clone()
    }

    /// A kubeconfig that leads through this door.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "door"}}],
            "clusters": [{"name": "door", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "door", "user": {}}],
        });
        let file = scratch("door.kubeconfig");
        std::fs::write(&file, kubeconfig.to_string()).expect("the folder of tests can be written to");
        file
    }

    /// A client that comes through this door.
    pub(crate) fn client(&self) -> Client {
        let url = format!("http://{}", self.address).parse().expect("an address makes a URL");
        Client::try_from(kube::Config::new(url)).expect("a URL makes a client")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let door = Arc::clone(&door);
        let service = service_fn(move |request| serve(Arc::clone(&door), request));
        connections.spawn(async move {
            // A connection that ends early is what some faults are about.
            // The server's own Date is passed on, or none.
            let _ = http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(door: Arc<Door>, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let call = Call {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let fault = (lock(&door.rule))(&call);
    let never = std::future::pending::<Infallible>();
    match fault {
        Fault::Answer(code, reason) => return Ok(status(code, reason)),
        Fault::Hang => match never.await {},
        _ => {}
    }
    let is_watch = call.is_watch();
    let mut request = Request::from_parts(head, kube::client::Body::from(body));
    // The server's own name goes there, and its answers are read as they are.
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let happened = if let Fault::HangAfter(happened) = &fault { Some(Arc::clone(happened)) } else { None };
    // Whoever called may be gone before the server has answered; the call takes effect all the same, and the test learns of it.
    let answer = tokio::spawn(async move {
        let answer = door.server.send(request).await;
        if let Ok(answer) = &answer
            && call.is_write()
            && answer.status().is_success()
        {
            lock(&door.accepted).push(call);
        }
        if let Some(happened) = happened {
            happened.notify_one();
        }
        answer
    });
    let answer = answer.await??;
    match fault {
        Fault::AnswerAfter(code, reason) => Ok(status(code, reason)),
        Fault::BreakAfter => Err("the test breaks the connection".into()),
        Fault::HangAfter(_) => match never.await {},
        Fault::Hold(Held { arrived, release }) => {
            arrived.notify_one();
            release.notified().await;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        Fault::Tamper(tamper) if is_watch => Ok(answer.map(|body| tampered_lines(body, tamper))),
        Fault::Tamper(tamper) => tampered(answer, tamper).await,
        Fault::Dress(dress) => {
            let mut answer = passed(answer);
            dress(answer.headers_mut());
            Ok(answer)
        }
        _ => Ok(passed(answer)),
    }
}

/// As the server has given it.
fn passed(answer: Response<kube::client::Body>) -> Response<Body> {
    answer.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": "the test says so",
    });
    let mut response = Response::new(whole(&body));
    *response.status_mut() = StatusCode::from_u16(code).expect("the test gives a status code");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn whole(body: &Value) -> Body {
    Full::from(body.to_string()).map_err(Into::into).boxed_unsync()
}

/// A list or a single object.
async fn tampered(answer: Response<kube::client::Body>, tamper: Tamper) -> Result<Response<Body>, Error> {
    let (mut head, body) = answer.into_parts();
    let mut body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    match body["items"].as_array_mut() {
        Some(items) => items.iter_mut().for_each(tamper),
        None => tamper(&mut body),
    }
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, whole(&body)))
}

/// The events of a watch, one line each.
fn tampered_lines(body: kube::client::Body, tamper: Tamper) -> Body {
    let chunks = BodyDataStream::new(body).map_err(|error| Error::from(error.to_string())).boxed();
    let state = (chunks, Vec::new(), VecDeque::<Bytes>::new());
    let lines = futures::stream::try_unfold(state, move |(mut chunks, mut rest, mut lines)| async move {
        loop {
            if let Some(line) = lines.pop_front() {
                return Ok(Some((Frame::data(line), (chunks, rest, lines))));
            }
            let Some(chunk) = chunks.try_next().await? else { return Ok(None) };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut event: Value = serde_json::from_slice(&rest[..end])?;
                tamper(&mut event["object"]);
                rest.drain(..=end);
                lines.push_back(Bytes::from(format!("{event}\n")));
            }
        }
    });
    StreamBody::new(lines).boxed_unsync()
}
