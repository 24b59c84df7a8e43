//! The access log of a proxy, as config/ingress/nginx has nginx write it, read as it grows: what its lines say, what
//! they add up to, and which file comes next when the log is rotated.

mod line;
mod place;
mod sums;

pub use line::{Entry, Malformed, parse};
pub use place::{FileId, LogFile, Place, is_rotated, next_file};
pub use sums::{Full, Sums};
