//! Problem documents (RFC 9457): what a code means, for programs and people.

use serde::Serialize;

use crate::core::denials::Told;
use crate::core::policy::Api;
use crate::core::verdict::Code;

/// The media type of [`body`].
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// How the API tells a refusal, if there is one that has a say in it.
pub(super) fn told<'a>(api: Option<&'a Api>, code: Code, name: &str) -> Told<'a> {
    let as_all = || Told { status: code.status(), detail: code.detail() };
    api.map_or_else(as_all, |api| api.denials.told(code, name))
}

/// The document of one refusal, whose code callers are told as `name`.
pub(super) fn body(code: Code, name: &str, told: Told<'_>, request_id: &str) -> String {
    let problem = Problem {
        r#type: format!("https://keyturn.dev/problems/{}", code.as_str().to_ascii_lowercase().replace('_', "-")),
        title: title(code),
        status: told.status,
        detail: told.detail,
        code: name,
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
        Code::ResourceNotFound => "Resource not found",
        Code::ResourceForbidden => "Resource not allowed",
        Code::RateLimited => "Rate limit exhausted",
        Code::QuotaExceeded => "Quota used up",
        Code::CreditsExhausted => "Credits used up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_happened_and_what_to_do() {
        let told = Told { status: 404, detail: "Use \"base\"." };
        let document: serde_json::Value =
            serde_json::from_str(&body(Code::ResourceForbidden, "MODEL_FORBIDDEN", told, "r-1")).unwrap();
        let expected = serde_json::json!({
            "type": "https://keyturn.dev/problems/resource-forbidden",
            "title": "Resource not allowed",
            "status": 404,
            "detail": "Use \"base\".",
            "code": "MODEL_FORBIDDEN",
            "requestId": "r-1",
        });
        assert_eq!(document, expected);
    }
}
