//! The settings of the check's runs.

use inferometer_campaign::{FlagValue, OurRun, RunOutput, Settings, Target, Work};
use inferometer_core::Secret;

use crate::args::CheckArgs;

/// The server to check.
pub(super) fn target(args: &CheckArgs) -> Target {
    let pairs = args.header.iter().filter_map(|pair| pair.split_once('='));
    Target {
        url: args.base_url.trim_end_matches('/').to_owned(),
        insecure: args.insecure,
        headers: pairs
            .map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim())))
            .collect(),
    }
}

/// The settings that all runs share.
pub(super) fn common_settings(args: &CheckArgs) -> Settings {
    let mut settings = Settings::new();
    for (flag, value) in [
        ("backend", Some(&args.backend)),
        ("base-url", Some(&args.base_url)),
        ("endpoint", args.endpoint.as_ref()),
        ("model", args.model.as_ref()),
        ("tokenizer", args.tokenizer.as_ref()),
    ] {
        if let Some(value) = value {
            settings.insert(flag.to_owned(), value.as_str().into());
        }
    }
    let headers = args.header.iter().map(|pair| pair.as_str().into());
    settings.insert("header".to_owned(), FlagValue::Many(headers.collect()));
    settings.insert("insecure".to_owned(), FlagValue::Switch(args.insecure));
    settings.insert(
        "ready-check-timeout-sec".to_owned(),
        args.ready_check_timeout_sec.into(),
    );
    settings.insert("dataset-name".to_owned(), "random".into());
    settings
}

/// A run with the common settings and its own.
pub(super) fn run_with(common: &Settings, own: &[(&str, u64)], output: RunOutput) -> Work {
    let mut settings = common.clone();
    for &(flag, value) in own {
        settings.insert(flag.to_owned(), value.into());
    }
    Work::Ours(Box::new(OurRun::new(settings, &[], output)))
}
