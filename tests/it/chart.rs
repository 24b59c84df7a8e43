//! The chart: what it renders, whether API servers take it, and what it lets whom do.

mod guard;
mod helm;
mod kustomize;
mod life;
mod monitoring;
mod renderings;
mod rights;
