//! What an answer says of who calls.

/// As many fields, and as long ones, as the auth port's answers have.
pub(crate) const FIELDS: [(&str, &str); 14] = [
    ("x-apikey-id", "key_0000000000000000012345"),
    ("x-apikey-name", "customer-012345"),
    ("x-apikey-namespace", "speech"),
    ("x-apikey-owner", "acme-012345"),
    ("x-apikey-environment", "live"),
    ("x-apikey-tier", "pro"),
    ("x-apikey-version", "1"),
    ("x-apikey-scopes", ""),
    ("x-auth-would-deny", ""),
    ("x-ratelimit-limit", "4294967295"),
    ("x-ratelimit-remaining", "4294967280"),
    ("x-ratelimit-reset", "1700000000"),
    ("ratelimit", "\"burst\";r=4294967280;t=2"),
    ("ratelimit-policy", "\"burst\";q=4294967295;w=1"),
];
