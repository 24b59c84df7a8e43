//! Frames of HTTP/2, of RFC 9113: for clients that say what no library says, or that cost less than any.

/// What every connection begins with, and settings that change nothing.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a frame begins with.
pub(crate) struct Head {
    /// Of what follows, in bytes.
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) const LENGTH: usize = 9;

    pub(crate) fn read(bytes: [u8; Self::LENGTH]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = bytes;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let length = usize::try_from(length).expect("a frame fits into memory");
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) }
    }
}

/// Appends a frame.
pub(crate) fn push(kind: u8, flags: u8, stream: u32, payload: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    into.extend_from_slice(&length[1..]);
    into.extend_from_slice(&[kind, flags]);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(payload);
}
