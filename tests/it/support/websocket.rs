//! WebSockets: an application that echoes, and its client. Frames are whole messages of at most 64 KiB.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the application says first.
pub(crate) const GREETING: &str = "hello from the backend";

/// Key and answer of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLBMxaQ9kYGzzhZRbK+xOo=";

/// FIN, and text.
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// In place of a length that stands behind it, in two bytes.
const LONG: u8 = 0x7e;

/// Greets who opens a WebSocket, and echoes; answers 200 to everything else. Gone when dropped.
pub(crate) struct Echo {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&seen)));
            }
        });
        Self { address, heads, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all requests since the last call, in small letters.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let head = head(&mut stream).await?.to_ascii_lowercase();
    let is_handshake = head.contains("\r\nupgrade: websocket\r\n");
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    if !is_handshake {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    }
    let told = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    stream.write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{told}").as_bytes()).await?;
    write(&mut stream, GREETING.as_bytes(), None).await?;
    loop {
        let message = read(&mut stream).await?;
        write(&mut stream, &message, None).await?;
    }
}

/// The client's end of one that is open.
pub(crate) struct WebSocket(TcpStream);

impl WebSocket {
    /// # Errors
    /// The head of the answer, when it is another than 101.
    pub(crate) async fn open(server: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let mut stream = TcpStream::connect(server).await.expect("the proxy listens");
        let own: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let own = own.concat();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
             13\r\nSec-WebSocket-Key: {KEY}\r\n{own}\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let head = head(&mut stream).await.map_err(|error| error.to_string())?;
        if head.starts_with("HTTP/1.1 101") && head.contains(ACCEPT) { Ok(Self(stream)) } else { Err(head) }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        write(&mut self.0, text.as_bytes(), Some([0x37, 0xfa, 0x21, 0x3d])).await.expect("it is open");
    }

    pub(crate) async fn receive(&mut self) -> String {
        String::from_utf8(read(&mut self.0).await.expect("it is open")).expect("it is text")
    }
}

async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn write(stream: &mut TcpStream, message: &[u8], mask: Option<[u8; 4]>) -> io::Result<()> {
    let masked = if mask.is_some() { MASKED } else { 0 };
    let mut frame = vec![TEXT];
    if let Ok(short @ 0..LONG) = u8::try_from(message.len()) {
        frame.push(masked | short);
    } else {
        frame.push(masked | LONG);
        frame.extend(u16::try_from(message.len()).expect("messages are short").to_be_bytes());
    }
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(message.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&frame).await
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    if stream.read_u8().await? != TEXT {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = stream.read_u8().await?;
    let size = match length & !MASKED {
        LONG => usize::from(stream.read_u16().await?),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    if length & MASKED != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut message = vec![0; size];
    stream.read_exact(&mut message).await?;
    message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(message)
}
