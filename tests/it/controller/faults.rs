//! A controller that dies at any point, and an API server that fails in every way: the end is the same.

mod answers;
mod invariants;
mod malformed;
mod points;
mod scenario;
mod trial;
