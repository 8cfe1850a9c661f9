//! Settings of the server: address, API, model.

use inferometer_benchmark::settings::{LoraSettings, TargetSettings};
use inferometer_benchmark::{Compat, api_key, settings as benchmark};
use inferometer_core::Secret;
use inferometer_wire::{Backend, backend};

use crate::args::{LoraAssignment, TargetArgs};
use crate::exit::{Failure, OrFail};

/// Checks and resolves the flags; adds notes for the user to `notes`.
pub(super) fn resolve(
    args: TargetArgs,
    compat: Compat,
    notes: &mut Vec<String>,
) -> Result<TargetSettings, Failure> {
    let TargetArgs {
        compat: _,
        backend: name,
        base_url,
        host,
        port,
        endpoint,
        header,
        model,
        served_model_name,
        tokenizer,
        tokenizer_mode,
        trust_remote_code,
        skip_tokenizer_init,
        lora_modules,
        lora_assignment,
        omit_field,
        skip_model_check,
    } = args;
    let backend = backend(name.as_deref().unwrap_or(compat.default_backend()))?;
    if !matches!(tokenizer_mode.as_str(), "auto" | "hf") {
        return Err(Failure::usage(format!(
            "--tokenizer-mode {tokenizer_mode}: must be auto or hf: the format follows from the tokenizer's files \
             (tokenizer.json, tekken.json, tokenizer.model, …), which --tokenizer names"
        )));
    }
    if trust_remote_code {
        notes.push(
            "--trust-remote-code has no effect: no code from a model's repository is ever run"
                .to_owned(),
        );
    }
    let endpoint = endpoint.unwrap_or_else(|| backend.default_endpoint().to_owned());
    backend.check_endpoint(&endpoint).or_usage()?;
    let headers = headers(&header)?;
    let base_urls = if base_url.is_empty() {
        vec![host_url(&host, port)]
    } else {
        base_url
            .iter()
            .map(|url| without_endpoint(url, &endpoint))
            .collect::<Result<_, _>>()?
    };
    Ok(TargetSettings {
        backend,
        base_url: base_urls[0].clone(),
        base_urls,
        endpoint,
        headers,
        api_key: api_key()?,
        model,
        served_model_name,
        tokenizer,
        has_tokenizer: !skip_tokenizer_init,
        lora: (!lora_modules.is_empty()).then_some(LoraSettings {
            modules: lora_modules,
            assignment: match lora_assignment {
                LoraAssignment::Random => benchmark::LoraAssignment::Random,
                LoraAssignment::RoundRobin => benchmark::LoraAssignment::RoundRobin,
            },
        }),
        omit_fields: omit_field,
        // vLLM's benchmark sends any name, and a server may accept names that it does not list.
        check_model: !skip_model_check && !compat.is_vllm(),
    })
}

fn backend(name: &str) -> Result<&'static Backend, Failure> {
    if name == "sim" || name.starts_with("sim:") {
        return Err(Failure::usage(
            "--backend sim: run needs a server; simulate one run with inferometer simulate, or many with inferometer \
             sweep --backend sim",
        ));
    }
    backend::find(name).or_usage()
}

/// The URL of `--host` and `--port`; an IPv6 address is put in brackets.
fn host_url(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

fn headers(entries: &[String]) -> Result<Vec<(String, Secret)>, Failure> {
    let header = |entry: &String| {
        let (name, value) = entry.split_once('=').ok_or_else(|| {
            // The entry may hold a secret, so the message does not show it.
            Failure::usage("--header: invalid entry: expected NAME=VALUE")
        })?;
        Ok((name.trim().to_owned(), Secret::new(value.trim())))
    };
    entries.iter().map(header).collect()
}

/// A URL to which the endpoint can be appended, as vLLM does, without a slash at its end: the
/// endpoint starts with one.
fn without_endpoint(url: &str, endpoint: &str) -> Result<String, Failure> {
    if url.trim().is_empty() {
        return Err(Failure::usage(
            "invalid --base-url \"\": expected http://HOST:PORT",
        ));
    }
    let base = if endpoint.starts_with('/') {
        url.trim_end_matches('/')
    } else {
        url
    };
    // Only the path is compared: a host may be named like the endpoint's first part.
    let host_and_path = base.split_once("://").map_or(base, |(_, rest)| rest);
    let path = host_and_path
        .find('/')
        .map_or("", |at| &host_and_path[at..]);
    let twice = |end: &str| path.ends_with(end) && endpoint.starts_with('/');
    let first = endpoint
        .strip_prefix('/')
        .and_then(|rest| rest.find('/'))
        .map(|at| &endpoint[..=at]);
    let Some(end) = Some(endpoint)
        .filter(|end| twice(end))
        .or(first.filter(|end| twice(end)))
    else {
        return Ok(base.to_owned());
    };
    Err(Failure::usage(format!(
        "--base-url {url}: requests would go to {base}{endpoint}, with {end} twice; remove {end} from --base-url (the \
         endpoint {endpoint} is appended), or set another --endpoint"
    )))
}

#[cfg(test)]
#[path = "../../tests/unit/target.rs"]
mod tests;
