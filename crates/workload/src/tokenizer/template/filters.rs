//! Filters and functions of Jinja that the template engine lacks or implements differently.

use minijinja::value::{Kwargs, Rest, Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::{json, percent};

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", json::to_json);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_function("cycler", |items: Rest<Jinja>| {
        minijinja_contrib::globals::cycler(items.0)
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    // Functions and macros are the only plain objects that templates see.
    environment.add_test("callable", |value: Jinja| value.kind() == ValueKind::Plain);
    percent::add(environment);
}

/// None is not, while what is undefined is.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
fn is_iterable(value: Jinja) -> bool {
    !value.is_none() && (value.is_undefined() || value.try_iter().is_ok())
}

/// Whatever has a length and members: in Python, a mapping does too.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
fn is_sequence(value: Jinja) -> bool {
    value.is_undefined()
        || match value.kind() {
            ValueKind::Seq | ValueKind::Map | ValueKind::String => true,
            ValueKind::Iterable => value.len().is_some(),
            _ => false,
        }
}

/// Cuts a text behind a whole word.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
fn truncate(
    text: String,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    named: Kwargs,
) -> Result<String, Error> {
    let length = length.or(named.get("length")?).unwrap_or(255);
    let killwords = killwords.or(named.get("killwords")?).unwrap_or(false);
    let end = end.or(named.get("end")?);
    let leeway = named.get::<Option<usize>>("leeway")?.unwrap_or(5);
    named.assert_all_used()?;
    let end = end.unwrap_or_else(|| "...".into());
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("truncate: expected a length of at least that of {end:?}, got {length}"),
        ));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(kept).collect();
    let whole = match cut.rsplit_once(' ') {
        Some((words, _)) if !killwords => words,
        _ => &cut,
    };
    Ok(format!("{whole}{end}"))
}

/// Runs of letters, digits and underscores.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that minijinja calls"
)]
fn wordcount(text: String) -> usize {
    text.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_')
        .filter(|word| !word.is_empty())
        .count()
}

/// Escapes for HTML as `markupsafe` writes them.
fn escape(value: Jinja) -> Jinja {
    if value.is_safe() {
        return value;
    }
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(symbol),
        }
    }
    Jinja::from_safe_string(out)
}
