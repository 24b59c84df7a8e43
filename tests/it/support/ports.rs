//! Ports of the loopback interface for processes that cannot be asked which one they took.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to outgoing connections, and apart from those of the test cluster.
const FIRST: u16 = 10_000;
const COUNT: u16 = 9_000;

// Test processes that run at once begin at different places.
static NEXT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new(u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0)));

/// An address on which nothing listens, given out only once by this process.
pub(crate) fn free() -> SocketAddr {
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
