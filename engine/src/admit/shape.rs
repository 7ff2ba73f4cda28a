//! What a valid module looks like from outside, held against the ABI: imports,
//! exports, the memory, tables and the custom section.

use super::{ABI_VERSION, MAX_TABLE_ELEMENTS, MAX_TABLES, OOM_SENTINEL, Refusal};
use manyhands_protocol::MergeMode;
use std::fmt::Write;
use std::ops::Range;
use wasmparser::ValType::{F64, I32, I64};
use wasmparser::{
    CustomSectionReader, ExternalKind, FuncType, MemoryType, Parser, Payload, TypeRef, ValType,
};

/// The name of the custom section.
const SECTION: &str = "manyhands";

type Signature = (&'static str, &'static [ValType], &'static [ValType]);

const IMPORTS: [Signature; 6] = [
    ("log", &[I32, I32], &[]),
    ("progress", &[F64], &[]),
    ("input_len", &[I64], &[I64]),
    ("input_read", &[I64, I64, I32, I32], &[]),
    ("file_len", &[I32, I32], &[I64]),
    ("file_read", &[I32, I32, I64, I32, I32], &[]),
];

const EXPORTS: [Signature; 4] = [
    ("alloc", &[I32], &[I32]),
    ("open", &[I32, I32], &[I64]),
    ("run", &[I64, I64], &[I64]),
    ("take", &[], &[I64]),
];

const REDUCE_EXPORTS: [Signature; 2] = [
    ("merge", &[I32, I32, I32, I32], &[I64]),
    ("finish", &[I32, I32], &[I64]),
];

/// What [`super::rewrite`] needs to know of a module.
pub(super) struct Shape {
    pub(super) merge: MergeMode,
    pub(super) takes_inputs: bool,
    pub(super) memory: MemoryType,
    pub(super) types: u32,
    /// Functions and globals, imported ones included.
    pub(super) functions: u32,
    /// Functions with a body.
    pub(super) bodies: u32,
    pub(super) globals: u32,
    /// Where the sentinel is exported, for a module that was admitted before.
    pub(super) sentinel: Option<usize>,
}

#[derive(Default)]
struct Found<'a> {
    types: Vec<FuncType>,
    imports: Vec<(usize, wasmparser::Import<'a>)>,
    /// The type index of each function, imported ones first.
    functions: Vec<u32>,
    bodies: u32,
    globals: u32,
    exports: Vec<(usize, wasmparser::Export<'a>)>,
    memory: Option<MemoryType>,
    tables: Vec<(usize, wasmparser::TableType)>,
    sections: Vec<(Range<usize>, &'a [u8])>,
}

impl Shape {
    /// Reads a module that is valid under [`super::FEATURES`].
    pub(super) fn read(wasm: &[u8]) -> Result<Self, Refusal> {
        let mut found = Found::default();
        for payload in Parser::new(0).parse_all(wasm) {
            found.take_in(payload?)?;
        }
        let (merge, takes_inputs) = found.section()?;
        found.check_imports()?;
        found.check_tables()?;
        for signature in EXPORTS {
            found.check_export(signature)?;
        }
        if merge == MergeMode::Reduce {
            for signature in REDUCE_EXPORTS {
                found.check_export(signature)?;
            }
        }
        let memory = found.exported_memory()?;
        let sentinel = found
            .exports
            .iter()
            .find(|(_, export)| export.name == OOM_SENTINEL);
        Ok(Self {
            merge,
            takes_inputs,
            memory,
            types: found.types.len() as u32,
            functions: found.functions.len() as u32,
            bodies: found.bodies,
            globals: found.globals,
            sentinel: sentinel.map(|(offset, _)| *offset),
        })
    }
}

impl<'a> Found<'a> {
    fn take_in(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    self.types.push(ty?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports_with_offsets() {
                    let (offset, import) = import?;
                    if let TypeRef::Func(ty) = import.ty {
                        self.functions.push(ty);
                    }
                    self.imports.push((offset, import));
                }
            }
            Payload::FunctionSection(section) => {
                self.bodies = section.count();
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter_with_offsets() {
                    let (offset, table) = table?;
                    self.tables.push((offset, table.ty));
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory = Some(memory?);
                }
            }
            Payload::GlobalSection(section) => self.globals += section.count(),
            Payload::ExportSection(section) => {
                for export in section.into_iter_with_offsets() {
                    self.exports.push(export?);
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                self.sections.push(place(&section));
            }
            _ => {}
        }
        Ok(())
    }

    fn section(&self) -> Result<(MergeMode, bool), Refusal> {
        let (range, data) = match self.sections.as_slice() {
            [] => return Err(Refusal::NoSection),
            [section] => section,
            [_, (range, _), ..] => {
                return Err(Refusal::RepeatedSection {
                    offset: range.start,
                });
            }
        };
        let offset = range.start;
        let &[low, high, mode, flags] = *data else {
            return Err(Refusal::SectionLength {
                found: data.len(),
                offset,
            });
        };
        let found = u16::from_le_bytes([low, high]);
        if found != ABI_VERSION {
            return Err(Refusal::AbiVersion { found, offset });
        }
        let merge = match mode {
            0 => MergeMode::Reduce,
            1 => MergeMode::Concat,
            found => return Err(Refusal::UnknownMergeMode { found, offset }),
        };
        if flags > 1 {
            return Err(Refusal::UnknownFlags {
                found: flags,
                offset,
            });
        }
        Ok((merge, flags == 1))
    }

    fn check_imports(&self) -> Result<(), Refusal> {
        for (offset, import) in &self.imports {
            let known = IMPORTS.iter().find(|(name, ..)| *name == import.name);
            let (module, name, offset) =
                (import.module.to_owned(), import.name.to_owned(), *offset);
            let Some((_, params, results)) = known.filter(|_| import.module == "manyhands") else {
                return Err(Refusal::UnknownImport {
                    module,
                    name,
                    offset,
                });
            };
            let found = match import.ty {
                TypeRef::Func(ty) => {
                    let ty = &self.types[ty as usize];
                    if (ty.params(), ty.results()) == (params, results) {
                        continue;
                    }
                    text(ty.params(), ty.results())
                }
                TypeRef::Memory(_) => "memory".to_owned(),
                TypeRef::Table(_) => "table".to_owned(),
                _ => "global".to_owned(),
            };
            let expected = text(params, results);
            return Err(Refusal::ImportType {
                name,
                expected,
                found,
                offset,
            });
        }
        Ok(())
    }

    fn check_tables(&self) -> Result<(), Refusal> {
        let too_large = |(at, (_, ty)): &(usize, &(usize, wasmparser::TableType))| {
            *at >= MAX_TABLES as usize || ty.initial > u64::from(MAX_TABLE_ELEMENTS)
        };
        match self.tables.iter().enumerate().find(too_large) {
            Some((_, (offset, _))) => Err(Refusal::Tables { offset: *offset }),
            None => Ok(()),
        }
    }

    fn check_export(&self, (name, params, results): Signature) -> Result<(), Refusal> {
        let expected = text(params, results);
        let Some((offset, export)) = self.export(name) else {
            return Err(Refusal::MissingExport { name, expected });
        };
        let found = match export.kind {
            ExternalKind::Func => {
                let ty = &self.types[self.functions[export.index as usize] as usize];
                if (ty.params(), ty.results()) == (params, results) {
                    return Ok(());
                }
                text(ty.params(), ty.results())
            }
            ExternalKind::Table => "table".to_owned(),
            ExternalKind::Memory => "memory".to_owned(),
            _ => "global".to_owned(),
        };
        Err(Refusal::ExportType {
            name,
            expected,
            found,
            offset: *offset,
        })
    }

    fn exported_memory(&self) -> Result<MemoryType, Refusal> {
        let expected = "memory".to_owned();
        let missing = Refusal::MissingExport {
            name: "memory",
            expected: expected.clone(),
        };
        let (offset, export) = self.export("memory").ok_or_else(|| missing.clone())?;
        if export.kind != ExternalKind::Memory {
            let found = "another kind".to_owned();
            return Err(Refusal::ExportType {
                name: "memory",
                expected,
                found,
                offset: *offset,
            });
        }
        self.memory.ok_or(missing)
    }

    fn export(&self, name: &str) -> Option<&(usize, wasmparser::Export<'a>)> {
        self.exports.iter().find(|(_, export)| export.name == name)
    }
}

fn place<'a>(section: &CustomSectionReader<'a>) -> (Range<usize>, &'a [u8]) {
    (section.data_offset()..section.range().end, section.data())
}

/// A function's type as people write it: `(i32, i32) -> i64`.
fn text(params: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| {
        types
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = format!("({})", list(params));
    match results {
        [] => {}
        [one] => write!(text, " -> {one}").expect("a String takes all"),
        more => write!(text, " -> ({})", list(more)).expect("a String takes all"),
    }
    text
}
