//! Guests on wasmtime: an engine with its settings, compiled programs, and
//! instances of them. Everything here runs guest code in the calling thread and
//! so belongs into the compute child, into tests and into measurements; the
//! child's threads, time limits and pipes are in [`crate::child`].

mod cache;
mod failure;
mod guest;
mod host;
mod inputs;
mod settings;

use crate::admit::{Admitted, Refusal, admit};
pub(crate) use failure::failure;
pub use guest::Guest;
pub(crate) use host::Host;
pub use host::{Silent, Sink};
pub use inputs::{Inputs, Segment};
use manyhands_protocol::{BlobHash, MergeMode};
pub use settings::SLOT_STACK;
use std::path::PathBuf;
use wasmtime::{Engine, InstancePre, Linker, Module, ModuleExport};

/// How a [`Runtime`] is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many instances may live at the same time: one a slot.
    pub slots: usize,
    /// Where compiled code is kept from one start to the next; `None` for
    /// nowhere. Two processes may share it.
    pub cache: Option<PathBuf>,
}

/// A wasmtime engine for guests. Cheap to share by reference among threads.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
    cache: Option<cache::CodeCache>,
}

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Admission refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not what admission puts out under the job's limits.
    #[error("the module {expected} was not admitted under this job's limits: that gives {found}")]
    NotAdmitted {
        /// The hash that was named.
        expected: BlobHash,
        /// The hash of what admission makes of the module.
        found: BlobHash,
    },
    /// wasmtime cannot compile it or cannot make an instance of it.
    #[error("the module cannot be compiled: {0}")]
    Compile(wasmtime::Error),
}

/// Why there is no engine: the machine lacks something.
#[derive(Debug, thiserror::Error)]
#[error("wasmtime cannot start on this machine: {0}")]
pub struct StartError(wasmtime::Error);

/// Compiled code that makes instances quickly.
pub struct Program {
    pre: InstancePre<Host>,
    exports: Exports,
    /// How partials are merged.
    pub merge: MergeMode,
    /// Whether tasks are records of an input.
    pub takes_inputs: bool,
    memory_limit: u64,
}

/// The guest's exports, looked up once a module instead of once an instance.
#[derive(Clone, Copy)]
struct Exports {
    memory: ModuleExport,
    sentinel: ModuleExport,
    alloc: ModuleExport,
    open: ModuleExport,
    run: ModuleExport,
    take: ModuleExport,
    merge: Option<ModuleExport>,
    finish: Option<ModuleExport>,
}

impl Runtime {
    /// Starts an engine. Threads that call guests need a stack of
    /// [`SLOT_STACK`] bytes.
    ///
    /// # Errors
    /// When the machine lacks address space or a processor that Cranelift knows.
    pub fn new(settings: &Settings) -> Result<Self, StartError> {
        let engine = settings::engine(settings.slots).map_err(StartError)?;
        let mut linker = Linker::new(&engine);
        host::define(&mut linker).map_err(StartError)?;
        let cache = settings
            .cache
            .as_deref()
            .and_then(|folder| cache::CodeCache::open(folder, &engine));
        Ok(Self {
            engine,
            linker,
            cache,
        })
    }

    /// Admits a module and compiles it, or finds its compiled code on disk.
    ///
    /// # Errors
    /// When admission refuses it, or when it cannot be compiled.
    pub fn load(&self, wasm: &[u8], memory_limit: u64) -> Result<Program, LoadError> {
        self.compile(&admit(wasm, memory_limit)?, memory_limit)
    }

    /// As [`load`](Self::load), for a module that was admitted elsewhere and is
    /// known by its hash: admission must find nothing to change.
    ///
    /// # Errors
    /// As [`load`](Self::load), and when admission changes the module.
    pub fn load_admitted(
        &self,
        wasm: &[u8],
        hash: BlobHash,
        memory_limit: u64,
    ) -> Result<Program, LoadError> {
        let admitted = admit(wasm, memory_limit)?;
        if admitted.hash != hash {
            return Err(LoadError::NotAdmitted {
                expected: hash,
                found: admitted.hash,
            });
        }
        self.compile(&admitted, memory_limit)
    }

    fn compile(&self, admitted: &Admitted, memory_limit: u64) -> Result<Program, LoadError> {
        let module = match &self.cache {
            Some(cache) => cache.module(&self.engine, admitted),
            None => Module::from_binary(&self.engine, &admitted.wasm),
        }
        .map_err(LoadError::Compile)?;
        let exports = Exports::find(&module, admitted.merge);
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(LoadError::Compile)?;
        Ok(Program {
            pre,
            exports,
            merge: admitted.merge,
            takes_inputs: admitted.takes_inputs,
            memory_limit,
        })
    }

    /// To be called once by each thread that will call guests: the first call
    /// of a guest is quicker then.
    pub fn prepare_thread() {
        Engine::tls_eager_initialize();
    }
}

impl Exports {
    /// # Panics
    /// When the module is not an admitted one.
    fn find(module: &Module, merge: MergeMode) -> Self {
        let required = |name| {
            module
                .get_export_index(name)
                .expect("admission has seen this export")
        };
        Self {
            memory: required("memory"),
            sentinel: required(crate::admit::OOM_SENTINEL),
            alloc: required("alloc"),
            open: required("open"),
            run: required("run"),
            take: required("take"),
            // In a concat guest these names mean nothing.
            merge: (merge == MergeMode::Reduce).then(|| required("merge")),
            finish: (merge == MergeMode::Reduce).then(|| required("finish")),
        }
    }
}
