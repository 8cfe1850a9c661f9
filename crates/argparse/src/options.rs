//! The options of a command line, and their names.

use std::collections::BTreeSet;

use inferometer_benchmark::Error;

use crate::flags;

/// How many values follow an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// None: it is a switch.
    None,
    /// Exactly one.
    One,
    /// All up to the next option.
    Many,
}

/// The options of `run`.
#[derive(Debug)]
pub struct Options {
    pub(crate) all: Vec<(String, Arity)>,
}

/// An option of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name without dashes.
    pub name: String,
    /// How many values follow it.
    pub arity: Arity,
}

impl Options {
    /// The `known` options of `run`, and those of vLLM's benchmark that are renamed or refused.
    pub fn of_run(known: impl IntoIterator<Item = OptionInfo>) -> Self {
        let mut all: Vec<(String, Arity)> = known
            .into_iter()
            .map(|option| (option.name, option.arity))
            .collect();
        let one_if = |takes: bool| if takes { Arity::One } else { Arity::None };
        all.extend(
            flags::REFUSED
                .iter()
                .map(|option| (option.flag.to_owned(), one_if(option.takes_value))),
        );
        all.extend(["config", "dataset"].map(|name| (name.to_owned(), Arity::One)));
        for (old, new) in flags::RENAMED {
            let arity = all
                .iter()
                .find(|(name, _)| name == new)
                .map_or(Arity::One, |&(_, arity)| arity);
            all.push(((*old).to_owned(), arity));
        }
        Self { all }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<Arity> {
        self.all
            .iter()
            .find(|(known, _)| known == name)
            .map(|&(_, arity)| arity)
    }

    /// The full name of a typed option; `None` if no option has this prefix.
    pub(crate) fn resolve(&self, typed: &str) -> Result<Option<&str>, Error> {
        if let Some((name, _)) = self.all.iter().find(|(known, _)| known == typed) {
            return Ok(Some(name));
        }
        let vllm: BTreeSet<&str> = flags::of_vllm().collect();
        let has_prefix = |(name, _): &&(String, Arity)| name.starts_with(typed);
        let of_vllm: Vec<_> = self
            .all
            .iter()
            .filter(has_prefix)
            .filter(|(name, _)| vllm.contains(name.as_str()))
            .collect();
        let found = if of_vllm.is_empty() {
            self.all.iter().filter(has_prefix).collect()
        } else {
            of_vllm
        };
        match found.as_slice() {
            [] => Ok(None),
            [(name, _)] => Ok(Some(name)),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|(name, _)| format!("--{name}"))
                    .collect();
                Err(Error::usage(format!(
                    "--{typed} is ambiguous: it could be {}; write the name in full",
                    names.join(", ")
                )))
            }
        }
    }

    /// Removes `--config FILE` from the arguments.
    pub(crate) fn take_config(
        &self,
        typed: &[String],
    ) -> Result<(Option<String>, Vec<String>), Error> {
        let mut config = None;
        let mut rest = Vec::with_capacity(typed.len());
        let mut arguments = typed.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let is_config = name
                .strip_prefix("--")
                .filter(|name| name.len() > 1)
                .is_some_and(|name| matches!(self.resolve(name), Ok(Some("config"))));
            if !is_config {
                rest.push(argument.clone());
                continue;
            }
            let path = inline.or_else(|| arguments.next().cloned());
            let path = path.ok_or_else(|| {
                Error::usage("--config: missing value: expected the name of a .yaml file")
            })?;
            if config.replace(path).is_some() {
                return Err(Error::usage(
                    "--config is given more than once; put all options in one file",
                ));
            }
        }
        Ok((config, rest))
    }
}
