//! Problem documents (RFC 9457): what a code means, for programs and people.

use serde::Serialize;

use crate::core::verdict::Code;

/// The media type of [`body`].
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    request_id: &'a str,
}

/// The document of one refusal.
pub(super) fn body(code: Code, request_id: &str) -> String {
    let problem = Problem {
        r#type: format!("https://keyturn.dev/problems/{}", code.as_str().to_ascii_lowercase().replace('_', "-")),
        title: title(code),
        status: code.status(),
        detail: code.detail(),
        code: code.as_str(),
        request_id,
    };
    // Only maps with odd keys and failing Serialize impls are refused; this is neither.
    serde_json::to_string(&problem).unwrap_or_default()
}

const fn title(code: Code) -> &'static str {
    match code {
        Code::Unavailable => "Unavailable",
        Code::ApiNotFound => "API not found",
        Code::BadRequest => "Bad request",
        Code::Unauthorized => "Unauthorized",
        Code::Revoked => "API key revoked",
        Code::NotAccepted => "API key not accepted",
        Code::Disabled => "API key disabled",
        Code::Expired => "API key expired",
        Code::IpNotAllowed => "Address not allowed",
        Code::RouteNotFound => "Route not found",
        Code::InsufficientScope => "Insufficient scope",
        Code::RateLimited => "Rate limit exhausted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_happened_and_what_to_do() {
        let document: serde_json::Value = serde_json::from_str(&body(Code::RateLimited, "r-1")).unwrap();
        let expected = serde_json::json!({
            "type": "https://keyturn.dev/problems/rate-limited",
            "title": "Rate limit exhausted",
            "status": 429,
            "detail": Code::RateLimited.detail(),
            "code": "RATE_LIMITED",
            "requestId": "r-1",
        });
        assert_eq!(document, expected);
    }
}
