//! The paths that a source file names. No parser: a stream of words is enough, and sees into macros too.

/// One path, as written but for what `super` and `self` stand for.
pub(super) struct Import {
    pub(super) line: usize,
    /// Segments joined by `::`; `crate::` first when it is ours.
    pub(super) path: String,
    /// Written in a module `tests`, in the same file or one of its own.
    pub(super) in_tests: bool,
}

impl Import {
    /// The folder of ours that it leads to.
    pub(super) fn ours(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("crate::").or_else(|| self.path.strip_prefix("keyturn::"))?;
        rest.split("::").next()
    }

    /// Whether it is `prefix` or something in it.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    /// `::`
    Into,
    Sign(u8),
}

/// Every path of two segments and more, and every single name that is `use`d. `modules` is where the file
/// stands: `["core", "key"]` for `src/core/key.rs`.
pub(super) fn imports(modules: &[&str], text: &str) -> Vec<Import> {
    let code = without_comments_and_literals(text);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    // For each inline module that is open, its name and how many braces were open around it.
    let mut inline: Vec<(&str, usize)> = Vec::new();
    let mut braces = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        let in_use = matches!(tokens[at].1, Token::Word("use"));
        match tokens[at].1 {
            Token::Sign(b'{') => braces += 1,
            Token::Sign(b'}') => {
                braces = braces.saturating_sub(1);
                inline.pop_if(|(_, outer)| *outer == braces);
            }
            Token::Word("mod") if matches!(tokens.get(at + 2), Some((_, Token::Sign(b'{')))) => {
                if let Some((_, Token::Word(name))) = tokens.get(at + 1) {
                    inline.push((name, braces));
                }
            }
            Token::Word(_) | Token::Into => {
                let around = inline.iter().map(|(name, _)| name);
                let in_tests = modules.iter().chain(around).any(|module| *module == "tests");
                let here = Here { modules, inline: inline.len() };
                // A name after a dot or another segment is no beginning of a path.
                let begins = at == 0 || !matches!(tokens[at - 1].1, Token::Sign(b'.'));
                let start = if in_use { at + 1 } else { at };
                let end = tree(&tokens, start, &[], in_use, &mut |line, segments| {
                    if begins {
                        found.push(Import { line, path: here.resolve(segments), in_tests });
                    }
                });
                at = end.max(at + 1);
                continue;
            }
            Token::Sign(_) => {}
        }
        at += 1;
    }
    found
}

/// Reads a path, or in a `use` a tree of them, from `at`, and returns where it ends.
fn tree<'t>(
    tokens: &[(usize, Token<'t>)],
    mut at: usize,
    prefix: &[&'t str],
    in_use: bool,
    found: &mut impl FnMut(usize, &[&str]),
) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |(line, _)| *line);
    while let Some((here, token)) = tokens.get(at) {
        match token {
            Token::Word(word) => {
                segments.push(word);
                line = *here;
                at += 1;
                if !matches!(tokens.get(at), Some((_, Token::Into))) {
                    break;
                }
            }
            Token::Into => at += 1,
            Token::Sign(b'{') if in_use => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((_, Token::Sign(b'}')))) {
                    let comma = matches!(tokens[at].1, Token::Sign(b','));
                    let end = if comma { at } else { tree(tokens, at, &segments, true, found) };
                    at = end.max(at + 1);
                }
                return at + 1;
            }
            Token::Sign(_) => break,
        }
    }
    if segments.len() > 1 || (in_use && segments.len() == 1) {
        found(line, &segments);
    }
    // `as name` names nothing.
    if in_use && matches!(tokens.get(at), Some((_, Token::Word("as")))) {
        at += 2;
    }
    at
}

/// Where a path is written.
struct Here<'m> {
    modules: &'m [&'m str],
    /// How many inline modules it is in.
    inline: usize,
}

impl Here<'_> {
    fn resolve(&self, segments: &[&str]) -> String {
        let supers = segments.iter().take_while(|segment| **segment == "super").count();
        let outside = match supers.checked_sub(self.inline) {
            Some(levels) if supers > 0 => levels,
            _ => return segments.join("::"),
        };
        let kept = self.modules.len().saturating_sub(outside);
        let absolute = self.modules[..kept].iter().chain(&segments[supers..]);
        std::iter::once("crate").chain(absolute.copied()).collect::<Vec<_>>().join("::")
    }
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let (mut line, mut at) = (1, 0);
    while at < bytes.len() {
        let start = at;
        at += 1;
        match bytes[start] {
            b'\n' => line += 1,
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                found.push((line, Token::Word(&code[start..at])));
            }
            b':' if bytes.get(at) == Some(&b':') => {
                at += 1;
                found.push((line, Token::Into));
            }
            byte if byte.is_ascii_graphic() => found.push((line, Token::Sign(byte))),
            _ => {}
        }
    }
    found
}

/// Blanks comments, strings and characters; lines stay where they are.
pub(crate) fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            code.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { ' ' });
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let within = |length: usize| (at + length).min(bytes.len());
    if rest.starts_with(b"//") {
        return within(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return within(block_comment(rest));
    }
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if !word_before && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let hashes_from = if rest[0] == b'b' { 2 } else { 1 };
        let hashes = rest[hashes_from..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(hashes_from + hashes) == Some(&b'"') {
            let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let body = hashes_from + hashes + 1;
            let length = rest[body..].windows(closing.len()).position(|window| window == closing);
            return within(length.map_or(rest.len(), |length| body + length + closing.len()));
        }
    }
    match rest[0] {
        b'"' => within(quoted(rest, b'"')),
        // A character has a closing quote two bytes on, or an escape; anything else is a lifetime.
        b'\'' if rest.get(1) == Some(&b'\\') => within(quoted(rest, b'\'')),
        b'\'' if rest.get(2) == Some(&b'\'') => within(3),
        _ => at,
    }
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}
