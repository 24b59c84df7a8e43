//! What is written down about keys: by whom, in which words, and that nobody can pretend to be somebody else.

mod edits;
mod policy;
mod world;
