//! Data that is made up from a seed as it is exported, and never held.

/// How much data is made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorConfig {
    /// Decides every byte.
    pub seed: u64,
    /// User tables of the root and of each component.
    pub tables: u64,
    /// Documents of each table.
    pub documents: u64,
    /// Bytes of each document's line, about.
    pub document_bytes: u64,
    /// Stored files of the root.
    pub files: u64,
    /// Bytes of each stored file.
    pub file_bytes: u64,
    /// Components beside the root.
    pub components: u64,
}

/// Makes up the data.
#[derive(Debug)]
pub(crate) struct Generator {
    config: GeneratorConfig,
}

impl Generator {
    pub(crate) fn new(config: GeneratorConfig) -> Self {
        Self { config }
    }
}
