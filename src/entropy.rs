//! The only place that draws random numbers, all of them from the operating system.

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("drawing random bytes from the operating system")]
pub struct EntropyError(#[source] getrandom::Error);

/// Overwrites `buffer` with random bytes that are fit for keys.
///
/// # Errors
/// When the operating system refuses; nothing may be minted then.
pub fn fill(buffer: &mut [u8]) -> Result<(), EntropyError> {
    getrandom::fill(buffer).map_err(EntropyError)
}

/// A random fraction in `0.0..1.0`, to spread what would otherwise happen at once.
///
/// # Errors
/// When the operating system refuses.
pub fn fraction() -> Result<f64, EntropyError> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0))
}

/// `bytes` random bytes in lower-case hexadecimal, fit to be part of an object's name.
///
/// # Errors
/// When the operating system refuses.
pub fn nonce(bytes: usize) -> Result<String, EntropyError> {
    let mut buffer = vec![0; bytes];
    fill(&mut buffer)?;
    Ok(buffer.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|n| char::from_digit(n.into(), 16)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_hexadecimal_and_differ() {
        let [a, b] = [nonce(5).unwrap(), nonce(5).unwrap()];
        assert_ne!(a, b);
        assert!(a.len() == 10 && a.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{a}");
    }

    #[test]
    fn fractions_stay_below_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&fraction().unwrap())));
    }
}
