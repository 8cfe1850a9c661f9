//! Methods of Python's strings that the template engine lacks or implements differently.

use minijinja::value::{Rest, Tuple, Value as Jinja, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls a method that the engine does not know.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Jinja,
    method: &str,
    arguments: &[Jinja],
) -> Result<Jinja, Error> {
    let called = match value.as_str() {
        Some(text) => of_text(state, text, method, arguments)?,
        None if value.kind() == ValueKind::Seq && method == "index" => {
            let (wanted,): (&Jinja,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *wanted);
            Some(
                at.map(Jinja::from)
                    .ok_or_else(|| wrong("not in the list"))?,
            )
        }
        None => None,
    };
    match called {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The result of a method of text; `None` for those that the engine has as Python does.
fn of_text(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Jinja],
) -> Result<Option<Jinja>, Error> {
    Ok(Some(match method {
        "find" | "rfind" | "index" | "rindex" => search(text, method, arguments)?,
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
            rsplit(text, separator, most.unwrap_or(-1))?
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            partition(text, separator, method == "rpartition")?
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "zfill" | "center" | "ljust" | "rjust" => pad(state, text, method, arguments)?,
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(arguments)?;
            lines(text, keep.unwrap_or(false)).into_iter().collect()
        }
        "expandtabs" => {
            let (width,): (Option<usize>,) = from_args(arguments)?;
            expand_tabs(state, text, width.unwrap_or(8))?
        }
        _ => {
            let Some(result) = without_arguments(text, method) else {
                return Ok(None);
            };
            let () = from_args(arguments)?;
            result
        }
    }))
}

/// The methods that take nothing.
fn without_arguments(text: &str, method: &str) -> Option<Jinja> {
    Some(match method {
        // One character at a time: the lower case of a whole text knows the Greek end of a word.
        "casefold" => text
            .chars()
            .flat_map(|symbol| match symbol {
                'ı' => vec![symbol],
                _ => symbol.to_uppercase().flat_map(char::to_lowercase).collect(),
            })
            .collect::<String>()
            .into(),
        "swapcase" => text
            .chars()
            .flat_map(|symbol| -> Vec<char> {
                if symbol.is_uppercase() {
                    symbol.to_lowercase().collect()
                } else {
                    symbol.to_uppercase().collect()
                }
            })
            .collect::<String>()
            .into(),
        "title" => title(text).into(),
        "istitle" => is_title(text).into(),
        "isdecimal" => is_all(text, |symbol| symbol.is_ascii_digit()).into(),
        "isidentifier" => {
            let starts = text.starts_with(|symbol: char| symbol.is_alphabetic() || symbol == '_');
            (starts && is_all(text, |symbol| symbol.is_alphanumeric() || symbol == '_')).into()
        }
        _ => return None,
    })
}

fn is_all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

/// A letter with two cases.
fn is_cased(symbol: char) -> bool {
    symbol.is_uppercase() || symbol.is_lowercase()
}

/// A text whose words start with a capital, where a word is a run of letters with cases.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for symbol in text.chars() {
        if inside {
            out.extend(symbol.to_lowercase());
        } else {
            let mut upper = symbol.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
        inside = is_cased(symbol);
    }
    out
}

fn is_title(text: &str) -> bool {
    let mut inside = false;
    let mut any = false;
    for symbol in text.chars() {
        if symbol.is_uppercase() && inside || symbol.is_lowercase() && !inside {
            return false;
        }
        inside = is_cased(symbol);
        any |= inside;
    }
    any
}

/// `find` and `index` from both ends, with the optional bounds in characters.
fn search(text: &str, method: &str, arguments: &[Jinja]) -> Result<Jinja, Error> {
    let (wanted, bounds): (&str, Rest<i64>) = from_args(arguments)?;
    let count = text.chars().count() as i64;
    let bound = |at: usize, default: i64| {
        let bound = bounds.get(at).copied().unwrap_or(default);
        let bound = if bound < 0 { bound + count } else { bound };
        bound.clamp(0, count) as usize
    };
    let (start, end) = (bound(0, 0), bound(1, count));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
    let part = text.get(byte(start)..byte(end));
    let found = part.and_then(|part| {
        let at = if method.starts_with('r') {
            part.rfind(wanted)
        } else {
            part.find(wanted)
        };
        at.map(|at| start + part[..at].chars().count())
    });
    match found {
        Some(at) => Ok(at.into()),
        None if method.ends_with("find") => Ok((-1).into()),
        None => Err(wrong("substring not found")),
    }
}

fn rsplit(text: &str, separator: Option<&str>, most: i64) -> Result<Jinja, Error> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    match separator {
        Some("") => return Err(wrong("empty separator")),
        Some(separator) => parts.extend(text.rsplitn(most.saturating_add(1), separator)),
        None => {
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let cut = rest
                    .rfind(char::is_whitespace)
                    .filter(|_| parts.len() < most);
                let start = cut.map_or(0, |at| {
                    at + rest[at..].chars().next().map_or(0, char::len_utf8)
                });
                parts.push(&rest[start..]);
                rest = rest[..start].trim_end();
            }
        }
    }
    parts.reverse();
    Ok(parts.into_iter().map(Jinja::from).collect())
}

fn partition(text: &str, separator: &str, from_the_end: bool) -> Result<Jinja, Error> {
    if separator.is_empty() {
        return Err(wrong("empty separator"));
    }
    let parts = if from_the_end {
        let found = text.rsplit_once(separator);
        found.map_or(["", "", text], |(left, right)| [left, separator, right])
    } else {
        let found = text.split_once(separator);
        found.map_or([text, "", ""], |(left, right)| [left, separator, right])
    };
    Ok(Jinja::from(Tuple::from(parts.map(Jinja::from))))
}

fn pad(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Jinja],
) -> Result<Jinja, Error> {
    let (width, fill): (i64, Option<char>) = from_args(arguments)?;
    let missing = usize::try_from(width)
        .unwrap_or(0)
        .saturating_sub(text.chars().count());
    // What is made must be paid for before it is.
    state.consume_fuel(missing as u64 / 16)?;
    let fill = fill.unwrap_or(' ');
    let run = |count: usize| fill.to_string().repeat(count);
    Ok(match method {
        "ljust" => format!("{text}{}", run(missing)),
        "rjust" => format!("{}{text}", run(missing)),
        "center" => {
            let left = missing / 2 + (missing & usize::try_from(width).unwrap_or(0) & 1);
            format!("{}{text}{}", run(left), run(missing - left))
        }
        _ => {
            let signs = usize::from(text.starts_with(['+', '-']));
            let (sign, digits) = text.split_at(signs);
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    }
    .into())
}

/// The lines of a text at all ends that Python knows.
fn lines(text: &str, keep: bool) -> Vec<Jinja> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(ENDS).unwrap_or(rest.len());
        let mark = if rest[end..].starts_with("\r\n") {
            2
        } else {
            rest[end..].chars().next().map_or(0, char::len_utf8)
        };
        let shown = if keep { end + mark } else { end };
        lines.push(Jinja::from(&rest[..shown]));
        rest = &rest[end + mark..];
    }
    lines
}

fn expand_tabs(state: &State<'_, '_>, text: &str, width: usize) -> Result<Jinja, Error> {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for symbol in text.chars() {
        match symbol {
            '\t' if width == 0 => {}
            '\t' => {
                let spaces = width - column % width;
                state.consume_fuel(spaces as u64 / 16)?;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            _ => {
                out.push(symbol);
                column = if matches!(symbol, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    Ok(out.into())
}
