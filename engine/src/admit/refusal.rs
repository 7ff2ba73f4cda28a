//! Why a module is no guest, each reason in words for its author.

/// A module that admission refuses, with the reason and the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are something else.
    #[error("not a WebAssembly module: it does not begin with \"\\0asm\" and version 1")]
    NotWasm,
    /// A component, not a core module.
    #[error("a WebAssembly component, not a core module: build for wasm32-unknown-unknown")]
    Component,
    /// The module ends inside a section.
    #[error("truncated: the module ends in the middle of a section (at offset {offset:#x})")]
    Truncated {
        /// Where it ends, in bytes.
        offset: usize,
    },
    /// It uses something whose outcome could differ between machines, or that
    /// some browsers lack.
    #[error("uses {feature}, which guests may not (at offset {offset:#x})")]
    Feature {
        /// What it uses, in words.
        feature: &'static str,
        /// Where, in bytes.
        offset: usize,
    },
    /// It is not valid Wasm.
    #[error("invalid module: {reason} (at offset {offset:#x})")]
    Invalid {
        /// The validator's words.
        reason: String,
        /// Where, in bytes.
        offset: usize,
    },
    /// It imports something the hosts do not have.
    #[error(
        "unknown import \"{module}\".\"{name}\" (at offset {offset:#x}): guests may import log, progress, \
         input_len, input_read, file_len and file_read from \"manyhands\", nothing else"
    )]
    UnknownImport {
        /// The import's namespace.
        module: String,
        /// Its name there.
        name: String,
        /// Where, in bytes.
        offset: usize,
    },
    /// It imports a host function with another type.
    #[error(
        "import \"manyhands\".\"{name}\" has type {found}, not {expected} (at offset {offset:#x})"
    )]
    ImportType {
        /// The import's name.
        name: String,
        /// The type of the ABI.
        expected: String,
        /// The module's type.
        found: String,
        /// Where, in bytes.
        offset: usize,
    },
    /// An export of the ABI is missing.
    #[error("missing export \"{name}\" {expected}")]
    MissingExport {
        /// Its name.
        name: &'static str,
        /// Its type in the ABI.
        expected: String,
    },
    /// An export of the ABI has another type.
    #[error("export \"{name}\" has type {found}, not {expected} (at offset {offset:#x})")]
    ExportType {
        /// Its name.
        name: &'static str,
        /// The type of the ABI.
        expected: String,
        /// The module's type.
        found: String,
        /// Where, in bytes.
        offset: usize,
    },
    /// It exports the name that admission itself adds.
    #[error("exports \"manyhands_oom\" (at offset {offset:#x}), a name that admission itself adds")]
    ReservedExport {
        /// Where, in bytes.
        offset: usize,
    },
    /// No custom section says that it is a guest.
    #[error("no custom section \"manyhands\": not built as a guest (see ABI.md)")]
    NoSection,
    /// More than one such section.
    #[error("a second custom section \"manyhands\" (at offset {offset:#x})")]
    RepeatedSection {
        /// Where, in bytes.
        offset: usize,
    },
    /// The section has another length.
    #[error("custom section \"manyhands\" has {found} bytes, not 4 (at offset {offset:#x})")]
    SectionLength {
        /// Its length in bytes.
        found: usize,
        /// Where, in bytes.
        offset: usize,
    },
    /// Another version of the ABI.
    #[error(
        "built for version {found} of the guest ABI, this host speaks version 1 (at offset {offset:#x})"
    )]
    AbiVersion {
        /// The module's version.
        found: u16,
        /// Where, in bytes.
        offset: usize,
    },
    /// A merge mode that does not exist.
    #[error("unknown merge mode {found} in custom section \"manyhands\" (at offset {offset:#x})")]
    UnknownMergeMode {
        /// The byte found.
        found: u8,
        /// Where, in bytes.
        offset: usize,
    },
    /// Flags that do not exist.
    #[error("unknown flags {found:#04x} in custom section \"manyhands\" (at offset {offset:#x})")]
    UnknownFlags {
        /// The byte found.
        found: u8,
        /// Where, in bytes.
        offset: usize,
    },
    /// Its memory begins larger than the job allows.
    #[error("needs at least {minimum} bytes of memory, the job allows {limit}")]
    MemoryTooLarge {
        /// What it begins with, in bytes.
        minimum: u64,
        /// The job's limit, in bytes.
        limit: u64,
    },
    /// Its tables are larger than every host allows.
    #[error(
        "has too many or too large tables (at offset {offset:#x}): 4 tables of 100000 elements at most"
    )]
    Tables {
        /// Where, in bytes.
        offset: usize,
    },
    /// `table.grow` may fail on one machine and not on another.
    #[error(
        "uses table.grow, which guests may not: whether it fails depends on the machine (at offset {offset:#x})"
    )]
    TableGrow {
        /// Where, in bytes.
        offset: usize,
    },
}

impl From<wasmparser::Error> for Refusal {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid {
            reason: error.message().to_owned(),
            offset: error.offset(),
        }
    }
}
