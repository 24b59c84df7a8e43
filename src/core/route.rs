//! Routes of an API: which methods and paths it offers and what each demands of a key.
//!
//! Paths are in matchit's syntax and compared decoded: `/v1/models/{model}`, `/files/{*rest}`. The most
//! specific path decides, then the method, so that a method mismatch is no match at all: falling back to a
//! broader path would let a request past what the specific one demands.

use std::collections::HashMap;
use std::sync::Arc;

use matchit::{InsertError, Router};

use super::query::Query;
use super::resource::{RouteResource, ValueSource};
use super::verdict::Code;

/// Parameters of one path that the router can tell apart; it panics beyond.
const MAX_PARAMETERS: usize = 25;

/// One route, as the manifest has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Unique within the API.
    pub name: Arc<str>,
    /// Upper case as in requests; empty: every method.
    pub methods: Vec<Arc<str>>,
    /// Decoded, with parameters in braces.
    pub path: Arc<str>,
    /// What the scopes of a key must satisfy.
    pub require: Option<Query>,
    /// What the requests are for.
    pub resource: Option<RouteResource>,
    /// Credits that a request spends.
    pub cost: u32,
    /// What a request charges to rate limits of these names.
    pub charges: Vec<RouteCharge>,
    /// No key is needed, and one that is there is ignored.
    pub public: bool,
}

/// What a request is charged to the rate limit of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteCharge {
    pub limit: Arc<str>,
    /// 0 looks without charging.
    pub cost: u32,
}

impl Route {
    /// Whether the resource that requests are for may stand in their bodies.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        let mut from = self.resource.iter().flat_map(|resource| &resource.from);
        from.any(|source| matches!(source, ValueSource::Body(_)))
    }

    /// The place of a parameter among those of the path, counted from 0.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<usize> {
        parameters(&self.path).position(|parameter| parameter == name)
    }
}

/// Names of a path's parameters, in order.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('{')?;
            if let Some(after) = after.strip_prefix('{') {
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}')?;
            rest = after;
            return Some(name.strip_prefix('*').unwrap_or(name));
        }
    })
}

/// Why a list of routes cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RouteError {
    #[error("two routes are named {name:?}")]
    DuplicateName { name: Arc<str> },
    #[error("route {route:?} has a path {path:?} that {problem}")]
    InvalidPath { route: Arc<str>, path: Arc<str>, problem: &'static str },
    #[error("route {route:?} with path {path:?} conflicts with {with:?}: both would match the same requests")]
    Conflict { route: Arc<str>, path: Arc<str>, with: String },
}

/// The compiled routes of one API.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    all: Vec<Arc<Route>>,
    by_name: HashMap<Arc<str>, usize>,
    /// What stands at each path: the routes' places in `all`.
    by_path: Router<Vec<usize>>,
    reads_bodies: bool,
}

/// All else is built from the list.
impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Routes {}

impl Routes {
    /// Compiles routes.
    ///
    /// # Errors
    /// The first route that is malformed or takes requests that another one takes already.
    pub fn build(routes: Vec<Route>) -> Result<Self, RouteError> {
        let reads_bodies = routes.iter().any(Route::reads_body);
        let mut built = Self { all: routes.into_iter().map(Arc::new).collect(), reads_bodies, ..Self::default() };
        let mut paths = Paths::default();
        for (at, route) in built.all.iter().enumerate() {
            if built.by_name.insert(Arc::clone(&route.name), at).is_some() {
                return Err(RouteError::DuplicateName { name: Arc::clone(&route.name) });
            }
            paths.add(at, &built.all)?;
        }
        built.by_path = paths.compile(&built.all)?;
        Ok(built)
    }

    /// Whether some route reads bodies.
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        self.reads_bodies
    }

    /// Whether the API has no routes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The route for a method and a path that [`super::path::of_target`] let through. A route that lists the
    /// method comes before one that takes every method.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<&Arc<Route>> {
        let here = self.by_path.at(path).ok()?.value;
        let mut candidates = here.iter().filter_map(|at| self.all.get(*at));
        let any = candidates.clone().find(|route| route.methods.is_empty());
        candidates.find(|route| route.methods.iter().any(|listed| **listed == *method)).or(any)
    }

    /// What stands in a path for a route's parameter, counted from 0; `None` if nothing does, or if the path is not
    /// one of the route's.
    #[must_use]
    pub fn parameter<'a>(&self, route: &Route, path: &'a str, at: usize) -> Option<&'a str> {
        let found = self.by_path.at(path).ok()?;
        let is_here = |known: &usize| self.all.get(*known).is_some_and(|known| known.name == route.name);
        // Routes at one path may call their parameters differently, and the router knows the names of the first.
        let value = found.params.iter().nth(at).map(|(_, value)| value);
        value.filter(|value| !value.is_empty() && found.value.iter().any(is_here))
    }

    /// The code that refusals of resources are told under this name.
    #[must_use]
    pub fn code(&self, name: &str) -> Option<Code> {
        self.all.iter().find_map(|route| route.resource.as_ref()?.kind.code(name))
    }

    /// The route of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Route>> {
        self.all.get(*self.by_name.get(name)?)
    }
}

/// One path under which routes are to be found.
struct Path {
    /// As the first route spells it.
    spelling: String,
    routes: Vec<usize>,
}

/// Routes by the shape of their path: `/a/{x}` and `/a/{y}` match the same requests.
#[derive(Default)]
struct Paths {
    order: Vec<Path>,
    by_shape: HashMap<String, usize>,
}

impl Paths {
    fn add(&mut self, at: usize, routes: &[Arc<Route>]) -> Result<(), RouteError> {
        let route = &routes[at];
        let invalid = |problem| RouteError::InvalidPath {
            route: Arc::clone(&route.name),
            path: Arc::clone(&route.path),
            problem,
        };
        let spelling = without_trailing_slash(&route.path);
        let shape = shape(spelling).map_err(invalid)?;
        let Some(known) = self.by_shape.get(&shape) else {
            self.by_shape.insert(shape, self.order.len());
            self.order.push(Path { spelling: spelling.to_owned(), routes: vec![at] });
            return Ok(());
        };
        let here = &mut self.order[*known].routes;
        if let Some(other) = here.iter().find(|other| overlap(route, &routes[**other])) {
            return Err(conflict(route, routes[*other].name.to_string()));
        }
        here.push(at);
        Ok(())
    }

    fn compile(self, routes: &[Arc<Route>]) -> Result<Router<Vec<usize>>, RouteError> {
        let mut router = Router::new();
        // `{*rest}` also matches nothing, unless a route stands at that very path itself.
        let mut empty_rests = Vec::new();
        for path in &self.order {
            if let Some((before, _)) = path.spelling.rsplit_once("{*") {
                let before = without_trailing_slash(before);
                if shape(before).is_ok_and(|shape| !self.by_shape.contains_key(&shape)) {
                    empty_rests.push(Path { spelling: before.to_owned(), routes: path.routes.clone() });
                }
            }
        }
        for path in self.order.iter().chain(&empty_rests) {
            let route = &routes[path.routes[0]];
            router.insert(path.spelling.clone(), path.routes.clone()).map_err(|error| {
                let problem = match error {
                    InsertError::Conflict { with } => return conflict(route, self.name_of(&with, routes)),
                    InsertError::InvalidParamSegment => "has two parameters in one segment",
                    InsertError::InvalidCatchAll => "has a {*parameter} that is not the whole last segment",
                    _ => "has a malformed parameter; write {name} or {*name}, and {{ or }} for a brace",
                };
                RouteError::InvalidPath { route: Arc::clone(&route.name), path: Arc::clone(&route.path), problem }
            })?;
        }
        Ok(router)
    }

    /// The route at the path that the router names, or the path where the router names none of ours.
    fn name_of(&self, path: &str, routes: &[Arc<Route>]) -> String {
        let known = shape(path).ok().and_then(|shape| self.by_shape.get(&shape));
        known.map_or_else(|| path.to_owned(), |known| routes[self.order[*known].routes[0]].name.to_string())
    }
}

fn conflict(route: &Route, with: String) -> RouteError {
    RouteError::Conflict { route: Arc::clone(&route.name), path: Arc::clone(&route.path), with }
}

/// Whether two routes at one path take the same method. One that lists it is more specific than one that lists
/// none.
fn overlap(a: &Route, b: &Route) -> bool {
    a.methods.is_empty() && b.methods.is_empty() || a.methods.iter().any(|method| b.methods.contains(method))
}

fn without_trailing_slash(path: &str) -> &str {
    path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// A path with its parameters' names left out, checked for what could never match a decoded request path.
fn shape(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') {
        return Err("does not begin with a slash");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, ';' | '\\' | '?' | '#' | '%')) {
        return Err("has one of ; \\ ? # % or a control character; write paths decoded and without a query");
    }
    if path.len() > 1 && path[1..].split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("has an empty or a dot segment");
    }
    let mut shape = String::with_capacity(path.len());
    let mut parameters = 0;
    let mut rest = path;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        shape.push_str(before);
        if brace.starts_with("{{") || brace.starts_with("}}") {
            shape.push_str(&brace[..2]);
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').filter(|_| brace.starts_with('{'));
        let end = end.ok_or("has a brace without its counterpart; write {{ or }} for a brace")?;
        shape.push_str(if brace.starts_with("{*") { "{*}" } else { "{}" });
        parameters += 1;
        rest = &brace[end + 1..];
    }
    if parameters > MAX_PARAMETERS {
        return Err("has more than 25 parameters");
    }
    shape.push_str(rest);
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::fixtures;

    fn route(name: &str, methods: &[&str], path: &str) -> Route {
        let methods = methods.iter().map(|method| Arc::from(*method)).collect();
        Route { methods, ..fixtures::route(name, path) }
    }

    fn build(routes: &[(&str, &[&str], &str)]) -> Result<Routes, RouteError> {
        Routes::build(routes.iter().map(|(name, methods, path)| route(name, methods, path)).collect())
    }

    fn found<'a>(routes: &'a Routes, method: &str, path: &str) -> Option<&'a str> {
        routes.find(method, path).map(|route| &*route.name)
    }

    #[test]
    fn conflicts_are_named() {
        for (a, b) in [("/a/{x}", "/a/{y}"), ("/a", "/a/"), ("/{*rest}", "/{x}"), ("/a{x}", "/{y}b")] {
            let error = build(&[("first", &[], a), ("second", &[], b)]).err();
            let expected = RouteError::Conflict { route: "second".into(), path: b.into(), with: "first".to_owned() };
            assert_eq!(error, Some(expected), "{a} {b}");
        }
    }

    #[test]
    fn one_path_may_have_several_routes_that_share_no_method() {
        let error = build(&[("read", &["GET", "HEAD"], "/a"), ("write", &["PUT", "HEAD"], "/a")]).err();
        assert_eq!(error, Some(RouteError::Conflict { route: "write".into(), path: "/a".into(), with: "read".into() }));
        let routes = build(&[("rest", &[], "/a"), ("read", &["GET"], "/a"), ("write", &["PUT"], "/a/")]).unwrap();
        assert_eq!(found(&routes, "GET", "/a"), Some("read"));
        assert_eq!(found(&routes, "PUT", "/a"), Some("write"));
        assert_eq!(found(&routes, "DELETE", "/a"), Some("rest"));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for (path, problem) in [
            ("", "does not begin with a slash"),
            ("a", "does not begin with a slash"),
            ("/a//b", "has an empty or a dot segment"),
            ("/a/../b", "has an empty or a dot segment"),
            ("/a?b", "has one of ; \\ ? # % or a control character; write paths decoded and without a query"),
            ("/a%20b", "has one of ; \\ ? # % or a control character; write paths decoded and without a query"),
            ("/{a}{b}", "has two parameters in one segment"),
            ("/{*a}/b", "has a {*parameter} that is not the whole last segment"),
            ("/{}", "has a malformed parameter; write {name} or {*name}, and {{ or }} for a brace"),
            ("/{a", "has a brace without its counterpart; write {{ or }} for a brace"),
            ("/a}", "has a brace without its counterpart; write {{ or }} for a brace"),
            (&"/{a}".repeat(26), "has more than 25 parameters"),
        ] {
            let error = build(&[("r", &[], path)]).err();
            assert_eq!(
                error,
                Some(RouteError::InvalidPath { route: "r".into(), path: path.into(), problem }),
                "{path}"
            );
        }
        assert!(build(&[("r", &[], &"/{a}".repeat(25))]).is_ok());
    }

    #[test]
    fn names_are_unique() {
        let error = build(&[("a", &[], "/a"), ("a", &[], "/b")]).err();
        assert_eq!(error, Some(RouteError::DuplicateName { name: "a".into() }));
    }

    #[test]
    fn the_most_specific_path_decides_then_the_method() {
        let routes = build(&[
            ("all", &[], "/{*rest}"),
            ("models", &["GET"], "/v1/models"),
            ("model", &["GET"], "/v1/models/{model}"),
            ("files", &["GET"], "/v1/models/{model}/{*rest}"),
            ("list", &["GET"], "/v1/models/list"),
        ])
        .unwrap();
        for (method, path, expected) in [
            ("GET", "/v1/models", Some("models")),
            ("POST", "/v1/models", None),
            ("get", "/v1/models", None),
            ("GET", "/v1/models/list", Some("list")),
            ("POST", "/v1/models/list", None),
            ("GET", "/v1/models/lists", Some("model")),
            ("GET", "/v1/models/a/b/c", Some("files")),
            ("GET", "/v2", Some("all")),
            ("GET", "/", Some("all")),
            ("GET", "/V1/models", Some("all")),
        ] {
            assert_eq!(found(&routes, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_rest_also_matches_nothing() {
        let routes = build(&[("files", &[], "/files/{*rest}")]).unwrap();
        for path in ["/files", "/files/a", "/files/a/b"] {
            assert_eq!(found(&routes, "GET", path), Some("files"), "{path}");
        }
        assert_eq!(found(&routes, "GET", "/filesystem"), None);
        let routes = build(&[("files", &[], "/files/{*rest}"), ("list", &["GET"], "/files/")]).unwrap();
        assert_eq!(found(&routes, "GET", "/files"), Some("list"));
        assert_eq!(found(&routes, "PUT", "/files"), None);
    }

    #[test]
    fn routes_are_found_by_name() {
        let routes = build(&[("a", &[], "/a")]).unwrap();
        assert_eq!(routes.by_name("a").map(|route| &*route.path), Some("/a"));
        assert_eq!(routes.by_name("b"), None);
        assert!(!routes.is_empty());
        assert!(Routes::default().is_empty());
        assert_eq!(found(&Routes::default(), "GET", "/"), None);
    }

    #[test]
    fn a_parameter_is_read_by_its_place_in_the_routes_own_path() {
        let routes = build(&[
            ("get", &["GET"], "/v1/{model}/{*rest}"),
            ("put", &["PUT"], "/v1/{name}/{*path}"),
            ("brace", &[], "/{{a}}/{b}"),
        ])
        .unwrap();
        let read = |route: &str, name: &str, path: &str| {
            let route = routes.by_name(route).unwrap();
            routes.parameter(route, path, route.parameter(name)?).map(str::to_owned)
        };
        for (route, name, path, expected) in [
            ("get", "name", "/v1/a/b/c", None),
            ("get", "model", "/v2/a/b/c", None),
            ("get", "rest", "/v1/a", None),
            ("brace", "a", "/{a}/x", None),
            ("get", "model", "/{a}/x", None),
            ("get", "model", "/v1/a/b/c", Some("a")),
            ("put", "name", "/v1/a/b/c", Some("a")),
            ("put", "path", "/v1/a/b/c", Some("b/c")),
            ("get", "model", "/v1/a", Some("a")),
            ("brace", "b", "/{a}/x", Some("x")),
        ] {
            assert_eq!(read(route, name, path).as_deref(), expected, "{route} {name} {path}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_paths_never_panic(paths in prop::collection::vec("/([a-bé è]|/|\\{\\{|\\}\\}|\\{[a-b]?\\}|\\{\\*r\\}|[{}*./]){0,10}", 0..6), request in "/[a-b{}/éè]{0,8}") {
            let routes = paths.iter().enumerate().map(|(at, path)| route(&at.to_string(), &[], path)).collect();
            if let Ok(routes) = Routes::build(routes) {
                let _ = routes.find("GET", &request);
            }
        }

        #[test]
        fn every_route_without_parameters_finds_itself(paths in prop::collection::hash_set("(/[a-c]{1,2}){1,3}", 1..12)) {
            let paths: Vec<_> = paths.into_iter().collect();
            let mut all: Vec<_> = paths.iter().map(|path| route(path, &[], path)).collect();
            all.push(route("rest", &[], "/{*rest}"));
            let routes = Routes::build(all).unwrap();
            for path in &paths {
                prop_assert_eq!(found(&routes, "GET", path), Some(&**path));
            }
        }
    }
}
