//! What serde asks for by name where a field has a default.

pub(super) const fn yes() -> bool {
    true
}

/// A field that says nothing is left out, so that what is written equals what is read.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
