//! Reading from a request which resource it is for.

use std::borrow::Cow;

use super::parameters::{self, Octets};
use super::request::{Headers, Original};
use crate::core::path;
use crate::core::pointer::Unclear;
use crate::core::policy::Api;
use crate::core::resource::{Access, ValueSource};
use crate::core::route::Route;
use crate::core::verdict::Denial;

/// A request, and the route that it is for.
pub(super) struct Asked<'a, H: ?Sized> {
    pub(super) api: &'a Api,
    pub(super) route: &'a Route,
    pub(super) original: &'a Original<'a>,
    pub(super) headers: &'a H,
    pub(super) body: Result<&'a [u8], &'static str>,
}

impl<H: Headers + ?Sized> Asked<'_, H> {
    /// Judges what the request is for by what its key may use.
    ///
    /// # Errors
    /// The resource is unknown, not clear, or none that the key may use.
    pub(super) fn check(&self, access: &[Access]) -> Result<(), Denial> {
        let Some(resource) = &self.route.resource else {
            return Ok(());
        };
        for source in &resource.from {
            match self.value(source) {
                Ok(None) => {}
                Ok(Some(value)) => return resource.kind.judge(Some(&value), access),
                Err(cause) => return Err(resource.kind.not_found(cause)),
            }
        }
        resource.kind.judge(None, access)
    }

    /// What stands there. An empty value is none.
    fn value<'a>(&'a self, source: &'a ValueSource) -> Result<Option<Cow<'a, str>>, &'static str> {
        match source {
            ValueSource::Path(at) => {
                let path = path::of_target(self.original.target).map_err(path::PathError::as_str)?;
                let routes = &self.api.routes;
                Ok(match path {
                    Cow::Borrowed(path) => routes.parameter(self.route, path, *at).map(Cow::Borrowed),
                    Cow::Owned(path) => {
                        routes.parameter(self.route, &path, *at).map(|value| Cow::Owned(value.to_owned()))
                    }
                })
            }
            ValueSource::Header(name) => only(self.headers.values(name).map(|value| text(value.trim_ascii()))),
            ValueSource::Query(name) => only(parameters::values(self.original.target, name).map(decoded)),
            ValueSource::Body(pointer) => match self.body? {
                [] => Ok(None),
                body => {
                    let name = pointer.read(body).map_err(Unclear::as_str)?;
                    Ok(name.filter(|name| !name.is_empty()).map(Cow::Owned))
                }
            },
        }
    }
}

/// The one value of a place; of two different ones nobody knows which the backend takes.
fn only<'a>(
    values: impl Iterator<Item = Result<Cow<'a, str>, &'static str>>,
) -> Result<Option<Cow<'a, str>>, &'static str> {
    let mut only = None;
    for value in values {
        let value = value?;
        match &only {
            Some(known) if *known != value => return Err("the request names two resources in one place"),
            _ => only = Some(value),
        }
    }
    Ok(only.filter(|value| !value.is_empty()))
}

/// As servers read a form: `+` is a space, then octets are decoded.
fn decoded(value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    if !value.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text(value);
    }
    let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8(Octets(&spaced).collect()).map(Cow::Owned).map_err(|_| NOT_UTF8)
}

const NOT_UTF8: &str = "what names the resource is not UTF-8";

fn text(value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| NOT_UTF8)
}
