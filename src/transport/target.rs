//! What a caller of the auth port asks for, read from the path segments alone. Never from the query: some
//! proxies append their client's.

/// A request target of the auth port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target<'a> {
    /// `/auth/{dialect}/{namespace}/{api}[/…]`: judge by the API's routes.
    /// `/auth-as/{dialect}/{namespace}/{api}/{route}[/…]`: judge as that route.
    Judge { dialect: &'a str, namespace: &'a str, api: &'a str, route: Option<&'a str> },
    /// `/problem/{namespace}/{api}/{code}`: tell what a code means; judges nothing.
    Problem { namespace: &'a str, api: &'a str, code: &'a str },
}

impl<'a> Target<'a> {
    /// Reads the path; `None` when nothing is served there.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let kind = segments.next()?;
        let mut name = || segments.next().filter(|segment| !segment.is_empty());
        match kind {
            "auth" => Some(Self::Judge { dialect: name()?, namespace: name()?, api: name()?, route: None }),
            "auth-as" => Some(Self::Judge { dialect: name()?, namespace: name()?, api: name()?, route: Some(name()?) }),
            "problem" => {
                let problem = Self::Problem { namespace: name()?, api: name()?, code: name()? };
                segments.next().is_none().then_some(problem)
            }
            _ => None,
        }
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
    fn segments_name_what_is_asked() {
        let judge = |route| Some(Target::Judge { dialect: "nginx", namespace: "speech", api: "transcripts", route });
        for (path, expected) in [
            ("/auth/nginx/speech/transcripts", judge(None)),
            ("/auth/nginx/speech/transcripts/", judge(None)),
            ("/auth/nginx/speech/transcripts/v1/models", judge(None)),
            ("/auth-as/nginx/speech/transcripts/read", judge(Some("read"))),
            ("/auth-as/nginx/speech/transcripts/read/v1", judge(Some("read"))),
            (
                "/problem/speech/transcripts/EXPIRED",
                Some(Target::Problem { namespace: "speech", api: "transcripts", code: "EXPIRED" }),
            ),
        ] {
            assert_eq!(Target::parse(path), expected, "{path}");
        }
    }
}
