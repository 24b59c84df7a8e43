//! Request targets: a path that is not refused is one that no two servers read differently, and is judged as such.

#![no_main]

use keyturn::core::path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    let Ok(path) = path::of_target(target) else { return };
    assert!(path.starts_with('/'), "{path:?}");
    assert!(!path.contains(['\\', ';', '#', '?']), "{path:?}");
    assert!(!path.contains(char::is_control), "{path:?}");
    let mut segments = path[1..].split('/');
    let ambiguous = |segment: &str| segment == "." || segment == ".." || (segment.is_empty() && &*path != "/");
    assert!(!segments.any(ambiguous), "{path:?}");
    // The query is none of the path's business.
    let (before, _) = path::split(target);
    assert_eq!(path::of_target(before).as_deref(), Ok(&*path));
});
