//! What the rest of the program has to know about a dataset, and the form of the table.

/// The facts about one dataset.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The name after `--dataset-name`.
    pub name: &'static str,
    /// Prefixes of the flags that shape this dataset, without the dashes in front. Of several
    /// prefixes that fit a flag, the longest decides ([`super::flag_family`]).
    pub flag_prefixes: &'static [&'static str],
    /// Where the text of the prompts comes from.
    pub text: TextSource,
    /// Takes a `--dataset-path`. Datasets that do not are refused with one, since the user expects
    /// the file to be read.
    pub reads_file: bool,
    /// The rows say when they are due, so that no request rate is needed.
    pub has_clock: bool,
    /// `--num-prompts 0` asks for all rows.
    pub takes_all_rows: bool,
    /// Prompts are built to an exact number of tokens, which the server's tokenizer can check.
    pub exact_lengths: bool,
    /// With `--compat vllm`, prompts are aligned with the server's tokenizer, as vLLM's benchmark
    /// does.
    pub aligned_by_vllm: bool,
    /// No prompt has images, video or audio.
    pub text_only: bool,
    /// vLLM's benchmark gives the requests ids.
    pub has_ids_in_vllm: bool,
    /// The ready check and the warm-up get prompts of their own, so that a server that caches
    /// prefixes has not seen a measured prompt.
    pub has_own_warmup: bool,
}

impl Info {
    /// The usual facts about a dataset that is read, for the table.
    pub(super) const RECORDED: Self = Self {
        name: "",
        flag_prefixes: &[],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    };
    /// The same for one that is generated.
    pub(super) const SYNTHETIC: Self = Self {
        text: TextSource::Synthetic,
        reads_file: false,
        ..Self::RECORDED
    };
}

/// Where the text of prompts comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// Generated here, whatever file the lengths and times come from.
    Synthetic,
    /// Read from a file or from the hub.
    Recorded,
    /// Read from the file, generated where there is none.
    SyntheticWithoutFile,
}

impl TextSource {
    /// True where the text is generated here; `has_file` says that a file is given.
    pub fn is_synthetic(self, has_file: bool) -> bool {
        match self {
            Self::Synthetic => true,
            Self::Recorded => false,
            Self::SyntheticWithoutFile => !has_file,
        }
    }
}

/// Makes of the table: the enum of settings, the list of facts, and what differs by dataset alone.
/// A dataset without a row does not exist, and one that lacks a part does not compile.
macro_rules! datasets {
    ($(
        $(#[$doc:meta])*
        $variant:ident($settings:ty) $kind:ident $what:ident $load:path, $info:expr;
    )+) => {
        /// A dataset with its options.
        #[derive(Clone, Debug)]
        pub enum DatasetSettings {
            $($(#[$doc])* $variant($settings),)+
        }

        /// All datasets, in the order in which messages list them.
        pub const ALL: &[Info] = &[$($info),+];

        impl DatasetSettings {
            /// The facts about this dataset.
            pub fn info(&self) -> &'static Info {
                match self {
                    $(Self::$variant(_) => const { &$info },)+
                }
            }

            /// The form that the manifest keeps.
            pub fn spec(&self) -> DatasetSpec {
                let spec = match self {
                    $(Self::$variant(options) => options.spec(),)+
                };
                DatasetSpec {
                    name: self.name().to_owned(),
                    ..spec
                }
            }
        }

        /// Loads the dataset that the settings name. Synthetic requests go to `emit`.
        pub(crate) fn load<E: From<WorkloadError>>(
            context: &Context<'_>,
            emit: Emit<'_, E>,
        ) -> Result<Loaded, E> {
            match &context.settings.dataset {
                $(DatasetSettings::$variant(options) => {
                    info::load_one!($kind $what $load, context, options, emit)
                })+
            }
        }
    };
}

/// One arm of `load`: `in chunks` or `as rows`.
macro_rules! load_one {
    (in chunks $load:path, $context:expr, $options:expr, $emit:expr) => {
        $load($context, $options, $emit).map(Loaded::Emitted)
    };
    (as rows $load:path, $context:expr, $options:expr, $emit:expr) => {
        Ok(Loaded::Whole($load($context, $options)?))
    };
}

pub(super) use {datasets, load_one};
