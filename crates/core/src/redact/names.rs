//! Which names have secrets as their values.

/// Last words of a name whose value is a secret: `OPENAI_API_KEY`, `x-api-key`, `hfToken`.
const SECRET_WORDS: [&str; 20] = [
    "key",
    "apikey",
    "apikeys",
    "token",
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "authorization",
    "auth",
    "credential",
    "credentials",
    "cookie",
    "cookies",
    "signature",
    "sig",
    "jwt",
];
/// Words that make secrets of `keys` and `tokens`, which are counts and ids otherwise.
const QUALIFIERS: [&str; 11] = [
    "api", "access", "auth", "bearer", "hf", "hub", "private", "refresh", "secret", "service",
    "session",
];
/// Words after a secret's that do not change what the value is: `apiKeyValue`,
/// `AUTHORIZATION_HEADER`.
const TAILS: [&str; 7] = ["value", "header", "string", "plain", "raw", "b64", "base64"];
/// Names of a query's values that are secrets in a URL and harmless elsewhere, such as Azure's
/// `code`.
const QUERY_SECRETS: [&str; 7] = ["code", "sid", "session", "ticket", "pass", "pw", "hmac"];
/// Names under which a list of headers keeps the name of each.
const NAME_MEMBERS: [&str; 4] = ["name", "key", "header", "field"];
/// Characters of a text that looks random.
const RANDOM: usize = 12;

/// True when a value under this name is a secret: `api_key`, `Authorization`, `hfToken`, but not
/// `max_tokens`.
pub fn is_secret_name(name: &str) -> bool {
    let mut words = words(name);
    while words.len() > 1 && words != ["key", "value"] && is_one_of(words.last(), &TAILS) {
        words.pop();
    }
    let last = words.last().map_or("", String::as_str);
    if matches!(last, "keys" | "tokens") {
        return words.len() > 1 && is_one_of(words.get(words.len() - 2), &QUALIFIERS);
    }
    last == "bearer" || SECRET_WORDS.contains(&last)
}

/// The same for the name of a value in a URL's query.
pub(super) fn is_secret_in_query(name: &str) -> bool {
    is_secret_name(name)
        || QUERY_SECRETS
            .iter()
            .any(|word| name.eq_ignore_ascii_case(word))
}

/// True for the member that names a header in `{"name": "Authorization", "value": …}`.
pub(super) fn is_name_member(name: &str) -> bool {
    NAME_MEMBERS
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word))
}

/// True for the member that holds the header's value.
pub(super) fn is_value_member(name: &str) -> bool {
    ["value", "values", "val"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word))
}

/// True for a run of letters and digits that no word and no model's name has.
pub(super) fn looks_random(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= RANDOM
            && run.bytes().any(|b| b.is_ascii_digit())
            && run.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

fn is_one_of(word: Option<&String>, list: &[&str]) -> bool {
    word.is_some_and(|word| list.contains(&word.as_str()))
}

/// The words of a name in small letters: `X-Api-Key`, `apiKey`, `APIKey` and `API_KEY` are alike.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let ends_acronym = before.is_some_and(|c| c.is_ascii_uppercase())
            && letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let begins_word = letter.is_ascii_uppercase()
            && (before.is_some_and(|c| c.is_ascii_lowercase()) || ends_acronym);
        if begins_word || !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
