//! What a caller of the auth port asks for, read from the path segments alone. Never from the query: some
//! proxies append their client's.

/// A request target of the auth port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target<'a> {
    Judge(Policy<'a>),
    /// `/problem/{namespace}/{api}/{code}`: tell what a code means; judges nothing.
    Problem {
        namespace: &'a str,
        api: &'a str,
        code: &'a str,
    },
}

/// `/auth/{dialect}/{namespace}/{api}[/…]`: judge by the API's routes.
/// `/auth-as/{dialect}/{namespace}/{api}/{route}[/…]`: judge as that route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Policy<'a> {
    pub(super) dialect: &'a str,
    pub(super) namespace: &'a str,
    pub(super) api: &'a str,
    pub(super) route: Option<&'a str>,
    /// What follows, query included; for dialects that describe the original request there.
    pub(super) rest: &'a str,
}

impl<'a> Target<'a> {
    /// Reads path and query; `None` when nothing is served there.
    pub(super) fn parse(target: &'a str) -> Option<Self> {
        let mut segments = Segments(target);
        let kind = segments.next()?;
        match kind {
            "auth" | "auth-as" => {
                let (dialect, namespace, api) = (segments.next()?, segments.next()?, segments.next()?);
                let route = if kind == "auth" { None } else { Some(segments.next()?) };
                Some(Self::Judge(Policy { dialect, namespace, api, route, rest: segments.0 }))
            }
            "problem" => {
                let (namespace, api, code) = (segments.next()?, segments.next()?, segments.next()?);
                let ends = segments.0.is_empty() || segments.0.starts_with('?');
                ends.then_some(Self::Problem { namespace, api, code })
            }
            _ => None,
        }
    }
}

/// The rest of a request target, of which segments are taken from the front.
struct Segments<'a>(&'a str);

impl<'a> Segments<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.strip_prefix('/')?;
        let (segment, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        self.0 = rest;
        Some(segment).filter(|segment| !segment.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_served() {
        for path in [
            "",
            "/",
            "*",
            "auth/nginx/a/b",
            "/auth",
            "/auth/nginx/a",
            "/auth/nginx/a?/b",
            "/auth?/nginx/a/b",
            "/auth/nginx//b",
            "/auth//a/b",
            "//auth/nginx/a/b",
            "/Auth/nginx/a/b",
            "/auth-as/nginx/a/b",
            "/auth-as/nginx/a/b/",
            "/problem/a/b",
            "/problem/a/b/C/",
            "/problem/a/b/C/d",
            "/metrics",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }

    #[test]
    fn segments_name_what_is_asked_and_the_rest_is_kept() {
        let judge = |route, rest| {
            let (dialect, namespace, api) = ("envoy", "speech", "transcripts");
            Some(Target::Judge(Policy { dialect, namespace, api, route, rest }))
        };
        let problem = Some(Target::Problem { namespace: "speech", api: "transcripts", code: "EXPIRED" });
        for (path, expected) in [
            ("/auth/envoy/speech/transcripts", judge(None, "")),
            ("/auth/envoy/speech/transcripts/", judge(None, "/")),
            ("/auth/envoy/speech/transcripts//v1/models?a=/b?c", judge(None, "//v1/models?a=/b?c")),
            ("/auth/envoy/speech/transcripts?policy=/other", judge(None, "?policy=/other")),
            ("/auth-as/envoy/speech/transcripts/read", judge(Some("read"), "")),
            ("/auth-as/envoy/speech/transcripts/read/v1", judge(Some("read"), "/v1")),
            ("/problem/speech/transcripts/EXPIRED", problem),
            ("/problem/speech/transcripts/EXPIRED?x=/y", problem),
        ] {
            assert_eq!(Target::parse(path), expected, "{path}");
        }
    }
}
