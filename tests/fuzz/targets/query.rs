//! Permission queries: whatever the text, parsing ends with a query that can be asked or with a position in it.

#![no_main]

use keyturn::core::query::Query;
use keyturn::core::scope::{Scope, ScopeSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Query::parse(text) {
        Ok(query) => {
            assert!(!query.holds(&ScopeSet::new([])), "{text:?} demands nothing");
            let everything = ScopeSet::new(Scope::parse("*"));
            assert!(query.holds(&everything), "{text:?} cannot be satisfied");
        }
        Err(error) => assert!(error.position <= text.len(), "{text:?}: {error}"),
    }
});
