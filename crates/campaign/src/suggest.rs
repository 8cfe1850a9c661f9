//! What was probably meant.

/// The name among `known` that looks most like `given`, if any looks like it at all.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let given = plain(given);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A sentence about a name that is not known: the likely one, else all.
pub(crate) fn hint(given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("known are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood_and_nothing_is_guessed_wildly() {
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
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }
}
