//! Patterns in which `*` stands for any run of characters, also an empty one, and `?` for any one character.

/// Whether `text` is what `pattern` describes. What stands before the first and after the last `*` is fixed; each
/// piece between is taken where it first occurs, which leaves the most to the pieces after it. Every search goes
/// on where the last one ended, so the time is linear, but for pieces that have a `?`: those are tried everywhere.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return strip_prefix(text, pattern) == Some("");
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = strip_prefix(text, head).and_then(|text| strip_suffix(text, tail)) else {
        return false;
    };
    middle.split('*').all(|piece| {
        let rest = after(text, piece);
        text = rest.unwrap_or("");
        rest.is_some()
    })
}

/// What follows the first place where `piece` fits.
fn after<'a>(text: &'a str, piece: &str) -> Option<&'a str> {
    if piece.contains('?') {
        let mut places = text.char_indices().map(|(at, _)| at);
        places.find_map(|at| strip_prefix(&text[at..], piece))
    } else {
        text.find(piece).map(|at| &text[at + piece.len()..])
    }
}

fn strip_prefix<'a>(text: &'a str, piece: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    let fits = |expected| rest.next().is_some_and(|c| expected == '?' || expected == c);
    let all_fit = piece.chars().all(fits);
    all_fit.then_some(rest.as_str())
}

fn strip_suffix<'a>(text: &'a str, piece: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    let fits = |expected| rest.next_back().is_some_and(|c| expected == '?' || expected == c);
    let all_fit = piece.chars().rev().all(fits);
    all_fit.then_some(rest.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One character at a time, trying every run for a `*`.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            ['?', rest @ ..] => !text.is_empty() && naive(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    #[test]
    fn a_star_matches_any_run_and_a_question_mark_one_character() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("a", "ab", false),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("?", "", false),
            ("?", "ab", false),
            ("?", "é", true),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "abbc", true),
            ("a*bc*c", "abc", false),
            ("large-v?", "large-v3", true),
            ("large-v?", "large-v10", false),
            ("*?b*", "ab", true),
            ("*?b*", "b", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_matcher(pattern in "[abé*?]{0,10}", text in "[abé]{0,14}") {
            let [letters, characters] = [&pattern, &text].map(|text| text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &text), naive(&letters, &characters));
        }
    }
}
