//! The name that was probably meant.

/// The name among `known` that is most similar to `given`, if any is similar at all.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let given = plain(given);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2) && *distance < given.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A hint for an unknown name: the likely one, else all that are known.
pub fn hint(given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}

/// " (did you mean NAME?)" for a name that is similar to a known one, else nothing: the end of a message
/// that lists all names.
pub fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_names_are_not_guessed() {
        let known = [
            "model",
            "base_url",
            "tokenizer",
            "input_output",
            "concurrency_prompts",
        ];
        for (given, meant) in [
            ("modle", Some("model")),
            ("base-url", Some("base_url")),
            ("Tokeniser", Some("tokenizer")),
            ("input_ouput", Some("input_output")),
            ("concurency_prompts", Some("concurrency_prompts")),
            ("temperature", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }
}
