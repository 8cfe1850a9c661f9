//! Changes that flags make to requests of any dataset: adapters, structures, token ids.

use inferometer_core::random::PythonRandom;
use inferometer_core::{Prompt, Request};
use inferometer_workload::{DatasetSettings, Tokenizer};
use rayon::prelude::*;

use crate::error::Error;
use crate::settings::{LoraAssignment, LoraSettings, Settings};

/// Changes requests as flags say, all at once or in chunks, in order.
pub(crate) struct Adjust<'a> {
    settings: &'a Settings,
    /// Chooses adapters.
    random: PythonRandom,
    /// Requests that have an adapter.
    assigned: usize,
}

impl<'a> Adjust<'a> {
    /// Starts with the first request.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        // vLLM draws from Python's generator, which is fresh where the dataset drew from NumPy's.
        Self {
            settings,
            random: PythonRandom::new(settings.workload.seed),
            assigned: 0,
        }
    }

    /// Changes the next requests.
    pub(crate) fn apply(
        &mut self,
        tokenizer: Option<&Tokenizer>,
        requests: &mut [Request],
    ) -> Result<(), Error> {
        let settings = self.settings;
        if let Some(LoraSettings {
            modules,
            assignment,
        }) = &settings.target.lora
        {
            for request in requests.iter_mut() {
                let module = match assignment {
                    LoraAssignment::RoundRobin => &modules[self.assigned % modules.len()],
                    LoraAssignment::Random => self.random.choice(modules),
                };
                self.assigned += 1;
                request.model = Some(module.clone());
            }
        }
        if let Some(structured) = &settings.shapes.structured {
            let synthetic = matches!(
                settings.workload.dataset,
                DatasetSettings::Random(_) | DatasetSettings::Mix(_)
            );
            // Where all ask for the structure, no request ignores the end.
            let may_end = settings.workload.dataset.is_synthetic()
                && !structured.is_asked_of_all()
                && !settings.content.ignore_eos;
            structured.apply(requests, synthetic.then_some(tokenizer).flatten(), may_end);
        }
        if settings.content.token_ids {
            let tokenizer = tokenizer.ok_or_else(|| {
                Error::usage("--prompt-token-ids needs a tokenizer: remove --skip-tokenizer-init")
            })?;
            requests.par_iter_mut().for_each(|request| {
                if let Some(text) = request.prompt.as_text() {
                    let ids = tokenizer.encode(text);
                    request.prompt_tokens = ids.len() as u32;
                    request.prompt = Prompt::Tokens(ids);
                }
            });
        }
        Ok(())
    }
}
