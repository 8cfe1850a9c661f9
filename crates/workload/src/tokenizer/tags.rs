//! Tags of the Python library's chat templates that are not part of Jinja.

/// A template with `{% generation %} … {% endgeneration %}` written as `{% with %} … {% endwith %}`.
///
/// The Python library marks the answers of an assistant with these tags, for training; in rendered
/// text they leave nothing. The block is a scope of its own there, which `with` is as well, and the
/// marks for white space (`{%-`, `-%}`) stay.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let len = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => code_length(rest, "}}"),
            Some(b'%') => {
                let len = code_length(rest, "%}");
                let tag = &rest[..len];
                match name(tag) {
                    "generation" => out.push_str(&tag.replacen("generation", "with", 1)),
                    "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
                    "raw" => {
                        let len = raw_length(rest, len);
                        out.push_str(&rest[..len]);
                        rest = &rest[len..];
                        continue;
                    }
                    _ => out.push_str(tag),
                }
                rest = &rest[len..];
                continue;
            }
            _ => 1,
        };
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// The first word of a tag.
fn name(tag: &str) -> &str {
    let inner = tag[2..]
        .trim_start_matches(['-', '+'])
        .trim_start()
        .trim_end_matches("%}")
        .trim_end_matches(['-', '+']);
    let end = inner
        .find(|symbol: char| !symbol.is_alphanumeric() && symbol != '_')
        .unwrap_or(inner.len());
    // `{% generation = … %}` is no such tag, and an error of the template.
    if inner[end..].trim().is_empty() {
        &inner[..end]
    } else {
        ""
    }
}

/// Length of an expression or a tag up to and including its `end`, which does not count inside
/// quotes.
fn code_length(text: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, symbol) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if symbol == '\\' => escaped = true,
            Some(open) if symbol == open => quote = None,
            None if matches!(symbol, '"' | '\'') => quote = Some(symbol),
            None if text[at..].starts_with(end) => return at + end.len(),
            _ => {}
        }
    }
    text.len()
}

/// Length of a `{% raw %}` block, whose first tag has `opening` bytes.
fn raw_length(text: &str, opening: usize) -> usize {
    let mut at = opening;
    while let Some(found) = text[at..].find("{%") {
        let start = at + found;
        let len = text[start..]
            .find("%}")
            .map_or(text.len() - start, |end| end + 2);
        at = start + len;
        if name(&text[start..at]) == "endraw" {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_are_replaced() {
        for (source, expected) in [
            (
                "a{% generation %}b{% endgeneration %}c",
                "a{% with %}b{% endwith %}c",
            ),
            (
                "{%- generation -%}\n b {%+ endgeneration +%}",
                "{%- with -%}\n b {%+ endwith +%}",
            ),
            (
                "{%generation%}{{ '{% generation %}' }}{%endgeneration%}",
                "{%with%}{{ '{% generation %}' }}{%endwith%}",
            ),
            (
                "{# {% generation %} #}{% raw %}{% generation %}{% endraw %}",
                "{# {% generation %} #}{% raw %}{% generation %}{% endraw %}",
            ),
            (
                "{% set x = '%} {% generation %}' %}{",
                "{% set x = '%} {% generation %}' %}{",
            ),
            (
                "{% if add_generation_prompt %}é{% endif %}",
                "{% if add_generation_prompt %}é{% endif %}",
            ),
            ("{{ 'open", "{{ 'open"),
        ] {
            assert_eq!(without_generation_tags(source), expected, "{source}");
        }
    }
}
