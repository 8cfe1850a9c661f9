//! The command that makes a run again.

use inferometer_core::redact::redact_arguments;
use inferometer_core::{redact_url, shell_word};

use crate::prepare::Ready;
use crate::settings::Settings;

/// The arguments that started the run, without secrets and quoted for a shell, with what decides
/// the run but was left to its default: seed, tokenizer, and URL. Empty without arguments, as when
/// the library is used by itself. `sent` is false for a simulation, which has no server.
pub(crate) fn command(settings: &Settings, ready: &Ready, sent: bool) -> String {
    let typed = redact_arguments(&settings.saving.arguments);
    if typed.is_empty() {
        return String::new();
    }
    let has = |names: &[&str]| {
        typed.iter().any(|word| {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            names.contains(&name.replace('_', "-").as_str())
        })
    };
    let mut more: Vec<String> = Vec::new();
    if !has(&["--seed"]) {
        more.extend(["--seed".to_owned(), settings.workload.seed.to_string()]);
    }
    let tokenizer = ready.tokenizer_id.as_ref();
    if let Some(tokenizer) = tokenizer.filter(|_| !has(&["--tokenizer", "--skip-tokenizer-init"])) {
        more.extend(["--tokenizer".to_owned(), tokenizer.clone()]);
    }
    if sent && !has(&["--base-url", "--host", "--port"]) {
        more.push("--base-url".to_owned());
        let urls = ready.plan.wire.resolved().into_iter();
        more.extend(urls.map(|(base, _)| redact_url(&base)));
    }
    let words = std::iter::once("inferometer").chain(typed.iter().chain(&more).map(String::as_str));
    words.map(shell_word).collect::<Vec<_>>().join(" ")
}
