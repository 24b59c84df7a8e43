//! Permission queries: what a route demands of the scopes of a key, such as
//! `docs.read AND (docs.write OR admin)`.
//!
//! ```text
//! or      := and (OR and)*
//! and     := primary (AND primary)*
//! primary := SCOPE | ( or )
//! ```

use std::fmt;

use super::scope::{MAX_LENGTH as MAX_SCOPE_LENGTH, Scope, ScopeSet, is_scope_byte};

/// Characters of the longest query. It bounds the depth of a parsed query too, so walking one is safe.
pub const MAX_LENGTH: usize = 1_000;

/// A string that is no query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("byte {position}: {message}")]
pub struct QueryError {
    /// Zero-based offset in bytes of what is wrong.
    pub position: usize,
    /// What is wrong, and what is expected instead.
    pub message: &'static str,
}

/// A parsed query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Query {
    /// A single scope.
    Scope(Scope),
    /// Two or more queries that must all hold.
    All(Box<[Self]>),
    /// Two or more queries of which one must hold.
    Any(Box<[Self]>),
}

impl Query {
    /// Reads a query. `AND` binds tighter than `OR`; both are keywords in any case, as whole words only.
    ///
    /// # Errors
    /// The first thing that is wrong, with its position.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        // Characters, not bytes: a byte outside ASCII is refused by its own message.
        if text.chars().count() > MAX_LENGTH {
            return Err(QueryError { position: MAX_LENGTH, message: "a query has at most 1000 characters" });
        }
        let parser = Parser { text, at: 0, open: Vec::new(), level: Level::default() };
        parser.run()
    }

    /// Whether the held scopes satisfy this query.
    #[must_use]
    pub fn holds(&self, held: &ScopeSet) -> bool {
        match self {
            Self::Scope(scope) => held.grants(scope.as_str()),
            Self::All(parts) => parts.iter().all(|part| part.holds(held)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(held)),
        }
    }

    fn write_part(&self, f: &mut fmt::Formatter<'_>, parenthesised: bool) -> fmt::Result {
        if parenthesised { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Query {
    /// In a spelling that parses to an equal query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, operator) = match self {
            Self::Scope(scope) => return f.write_str(scope.as_str()),
            Self::All(parts) => (parts, " AND "),
            Self::Any(parts) => (parts, " OR "),
        };
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(operator)?;
            }
            let binds_looser = match part {
                Self::Scope(_) => false,
                Self::All(_) => matches!(self, Self::All(_)),
                Self::Any(_) => true,
            };
            part.write_part(f, binds_looser)?;
        }
        Ok(())
    }
}

enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Scope(&'a str),
}

/// What has been read between two parentheses so far.
#[derive(Default)]
struct Level {
    /// Finished alternatives.
    any: Vec<Query>,
    /// The conjunction being read.
    all: Vec<Query>,
}

impl Level {
    fn end_alternative(&mut self) {
        let all = std::mem::take(&mut self.all);
        self.any.extend(joined(all, Query::All));
    }

    fn finish(mut self) -> Option<Query> {
        self.end_alternative();
        joined(self.any, Query::Any)
    }
}

/// A list of one is what it holds; only an empty list is nothing.
fn joined(mut parts: Vec<Query>, join: fn(Box<[Query]>) -> Query) -> Option<Query> {
    if parts.len() > 1 { Some(join(parts.into())) } else { parts.pop() }
}

/// Keeps open parentheses in a list of its own rather than on the call stack.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Levels outside the current one, each with the position of the parenthesis that hides it.
    open: Vec<(usize, Level)>,
    level: Level,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Query, QueryError> {
        let mut wants_operand = true;
        loop {
            let position = self.skip_blanks();
            let fail = |message| Err(QueryError { position, message });
            match (self.token()?, wants_operand) {
                (Some(Token::Scope(text)), true) => {
                    let Ok(scope) = Scope::parse(text) else {
                        return fail("a scope has at most 128 characters");
                    };
                    self.level.all.push(Query::Scope(scope));
                    wants_operand = false;
                }
                (Some(Token::Open), true) => {
                    let outer = std::mem::take(&mut self.level);
                    self.open.push((position, outer));
                }
                (Some(Token::And), false) => wants_operand = true,
                (Some(Token::Or), false) => {
                    self.level.end_alternative();
                    wants_operand = true;
                }
                (Some(Token::Close), false) => {
                    let Some((_, outer)) = self.open.pop() else {
                        return fail("there is no ( that this ) closes");
                    };
                    let inner = std::mem::replace(&mut self.level, outer);
                    self.level.all.extend(inner.finish());
                }
                (Some(Token::Scope(_) | Token::Open), false) => {
                    return fail("AND, OR or the end is expected here");
                }
                (Some(_) | None, true) => return fail("a scope or ( is expected here"),
                (None, false) => break,
            }
        }
        if let Some((position, _)) = self.open.pop() {
            return Err(QueryError { position, message: "this ( is never closed" });
        }
        self.level.finish().ok_or(QueryError { position: 0, message: "a scope or ( is expected here" })
    }

    fn skip_blanks(&mut self) -> usize {
        self.at += self.text[self.at..].bytes().take_while(u8::is_ascii_whitespace).count();
        self.at
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, QueryError> {
        let rest = &self.text[self.at..];
        let (length, token) = match rest.as_bytes().first() {
            None => return Ok(None),
            Some(b'(') => (1, Token::Open),
            Some(b')') => (1, Token::Close),
            Some(byte) if is_scope_byte(*byte) => {
                let length = rest.bytes().take_while(|byte| is_scope_byte(*byte)).count();
                (length, word(&rest[..length]))
            }
            Some(_) => {
                let message = "a scope has letters, digits and . _ - : * / only";
                return Err(QueryError { position: self.at, message });
            }
        };
        self.at += length;
        Ok(Some(token))
    }
}

fn word(text: &str) -> Token<'_> {
    if text.eq_ignore_ascii_case("and") {
        Token::And
    } else if text.eq_ignore_ascii_case("or") {
        Token::Or
    } else {
        Token::Scope(text)
    }
}

const _: () = assert!(MAX_SCOPE_LENGTH == 128, "the message above names the limit");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(scopes: &[&str]) -> ScopeSet {
        ScopeSet::new(scopes.iter().map(|scope| Scope::parse(scope).unwrap()))
    }

    #[test]
    fn refuses_with_the_position_of_the_mistake() {
        let long = format!("a AND {}", "x".repeat(129));
        let longer = "a ".repeat(501);
        for (text, position, message) in [
            ("", 0, "a scope or ( is expected here"),
            ("   ", 3, "a scope or ( is expected here"),
            ("()", 1, "a scope or ( is expected here"),
            ("a AND", 5, "a scope or ( is expected here"),
            ("a AND OR b", 6, "a scope or ( is expected here"),
            ("AND a", 0, "a scope or ( is expected here"),
            ("a b", 2, "AND, OR or the end is expected here"),
            ("a (b)", 2, "AND, OR or the end is expected here"),
            ("(a", 0, "this ( is never closed"),
            ("a OR ((b)", 5, "this ( is never closed"),
            ("a)", 1, "there is no ( that this ) closes"),
            ("a & b", 2, "a scope has letters, digits and . _ - : * / only"),
            ("é", 0, "a scope has letters, digits and . _ - : * / only"),
            (&long, 6, "a scope has at most 128 characters"),
            (&longer, 1_000, "a query has at most 1000 characters"),
        ] {
            assert_eq!(Query::parse(text), Err(QueryError { position, message }), "{text}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let query = Query::parse("a OR b AND c").unwrap();
        assert!(query.holds(&held(&["a"])));
        assert!(query.holds(&held(&["b", "c"])));
        assert!(!query.holds(&held(&["b"])));
        assert!(!Query::parse("(a OR b) AND c").unwrap().holds(&held(&["a"])));
    }

    #[test]
    fn keywords_are_whole_words_in_any_case() {
        let query = Query::parse("ANDROID aNd oracle\tor\nX.and").unwrap();
        assert_eq!(query.to_string(), "ANDROID AND oracle OR X.and");
        assert!(query.holds(&held(&["ANDROID", "oracle"])));
        assert!(!query.holds(&held(&["android", "oracle"])));
    }

    #[test]
    fn a_star_is_a_wildcard_in_what_is_held_only() {
        assert!(Query::parse("docs.read").unwrap().holds(&held(&["docs.*"])));
        assert!(!Query::parse("docs.*").unwrap().holds(&held(&["docs.read"])));
        assert!(Query::parse("docs.*").unwrap().holds(&held(&["docs.*"])));
    }

    #[test]
    fn the_deepest_nesting_that_fits_is_read() {
        let text = format!("{}a{}", "(".repeat(499), ")".repeat(499));
        assert_eq!(Query::parse(&text), Query::parse("a"));
        let alternating = format!("{}a{}", "a or(b and(".repeat(76), ")".repeat(152));
        assert!(Query::parse(&alternating).unwrap().holds(&held(&["a"])));
    }

    fn queries() -> impl Strategy<Value = Query> {
        let scope = "[a-d]".prop_map(|text| Query::Scope(Scope::parse(&text).unwrap()));
        scope.prop_recursive(4, 24, 4, |inner| {
            let parts = prop::collection::vec(inner, 2..4);
            prop_oneof![
                parts.clone().prop_map(|parts| Query::All(parts.into())),
                parts.prop_map(|parts| Query::Any(parts.into())),
            ]
        })
    }

    /// Evaluates the text itself by rewriting innermost parentheses, AND and OR to `1` and `0`.
    fn naive(text: &str, held: &[&str]) -> bool {
        let mut text = text.to_owned();
        while let Some(close) = text.find(')') {
            let open = text[..close].rfind('(').unwrap();
            let inner = if naive(&text[open + 1..close], held) { "1" } else { "0" };
            text.replace_range(open..=close, inner);
        }
        let truth = |word: &str| word == "1" || held.contains(&word);
        text.split(" OR ").any(|all| all.split(" AND ").all(truth))
    }

    proptest! {
        #[test]
        fn display_round_trips(query in queries()) {
            prop_assume!(query.to_string().len() <= MAX_LENGTH);
            prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
        }

        #[test]
        fn agrees_with_a_naive_evaluator(query in queries(), held_scopes in prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4)) {
            prop_assert_eq!(query.holds(&held(&held_scopes)), naive(&query.to_string(), &held_scopes));
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            if let Err(error) = Query::parse(&text) {
                prop_assert!(error.position <= text.len());
            }
        }

        #[test]
        fn arbitrary_tokens_never_panic(tokens in prop::collection::vec(prop::sample::select(vec!["(", ")", "AND", "or", "a", "b*", " ", "é"]), 0..40)) {
            let text = tokens.join(" ");
            if let Ok(query) = Query::parse(&text) {
                prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
            }
        }
    }
}
