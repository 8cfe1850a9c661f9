//! Python's `%` between a text and what is put into it, which the template engine does not have.

use minijinja::value::Value as Jinja;
use minijinja::{Environment, Error, State};

const NAME: &str = "__percent";

/// Adds the function that [`without_percent`] writes.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_function(NAME, format);
}

/// `'…' % values`: a tuple holds one value for each place, anything else is the only one.
fn format(state: &mut State<'_, '_>, text: Jinja, values: Jinja) -> Result<Jinja, Error> {
    let mut arguments = vec![text];
    if values.is_tuple() {
        arguments.extend(values.try_iter()?);
    } else {
        arguments.push(values);
    }
    state.apply_filter("format", &arguments)
}

/// A template in which `'…' % x` is written as a call. Only a text in quotes is recognised on the
/// left side: whether a variable is a number is unknown here.
pub(super) fn without_percent(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') => {
                let len = rest.find("#}").map_or(rest.len(), |end| end + 2);
                out.push_str(&rest[..len]);
                rest = &rest[len..];
                continue;
            }
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                out.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        let len = code(rest, end, &mut out);
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// Copies an expression or tag up to its `end`; returns its length in the source.
fn code(text: &str, end: &str, out: &mut String) -> usize {
    out.push_str(&text[..2]);
    let mut at = 2;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(end) {
            out.push_str(end);
            return at + end.len();
        }
        let Some(literal) = quoted(rest) else {
            let symbol = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..symbol]);
            at += symbol;
            continue;
        };
        if let Some((start, operand)) = operand(&rest[literal..]) {
            let value = &rest[literal + start..literal + start + operand];
            out.extend([NAME, "(", &rest[..literal], ", ", value, ")"]);
            at += literal + start + operand;
        } else {
            out.push_str(&rest[..literal]);
            at += literal;
        }
    }
    at
}

/// Length of the text in quotes that a source starts with.
fn quoted(source: &str) -> Option<usize> {
    let open = source.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (at, symbol) in source.char_indices().skip(1) {
        match symbol {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if symbol == open => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Where the right side of a `%` that a source starts with begins, and its length.
fn operand(source: &str) -> Option<(usize, usize)> {
    let sign = source.find(|c: char| !c.is_whitespace())?;
    let after = source[sign..].strip_prefix('%')?;
    let start = sign + 1 + after.find(|c: char| !c.is_whitespace())?;
    let value = &source[start..];
    let mut len = primary(value)?;
    loop {
        let rest = &value[len..];
        let space = rest.len() - rest.trim_start().len();
        let more = match rest[space..].chars().next() {
            Some('(' | '[') => bracketed(&rest[space..])?,
            Some('.' | '|') => {
                let name = rest[space + 1..].trim_start();
                let skipped = rest.len() - space - 1 - name.len();
                1 + skipped + word(name)?
            }
            _ => return Some((start, len)),
        };
        len += space + more;
    }
}

/// Length of a value without what may follow it: a text, a number, a name or a bracket.
fn primary(source: &str) -> Option<usize> {
    match source.chars().next()? {
        '"' | '\'' => quoted(source),
        '(' | '[' | '{' => bracketed(source),
        '-' | '+' => primary(&source[1..]).map(|len| len + 1),
        _ => word(source),
    }
}

fn word(source: &str) -> Option<usize> {
    let len = source
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(source.len());
    (len > 0).then_some(len)
}

/// Length up to the bracket that closes the one at the start.
fn bracketed(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(symbol) = source[at..].chars().next() {
        match symbol {
            '"' | '\'' => {
                at += quoted(&source[at..])?;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += symbol.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
