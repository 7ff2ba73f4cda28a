//! Writes the job's limits into a module, section by section. What does not
//! change is copied as it is, so that a module's bytes stay its author's.

use super::shape::Shape;
use super::{OOM_SENTINEL, Refusal};
use std::borrow::Cow;
use std::ops::Range;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, ExportSection, Function, GlobalSection,
    GlobalType, MemorySection, MemoryType, Module, RawSection, SectionId, TypeSection, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Indices of what admission adds to a module, or has added before.
struct Added {
    /// Whether this pass adds it.
    now: bool,
    ty: u32,
    grow: u32,
    sentinel: u32,
}

/// The module as it is shipped: at most `pages` of memory, `memory.grow`
/// that traps, no custom sections but `manyhands` and `name`.
pub(super) fn rewrite(wasm: &[u8], shape: &Shape, pages: u64) -> Result<Vec<u8>, Refusal> {
    let added = match shape.sentinel {
        None => Added {
            now: true,
            ty: shape.types,
            grow: shape.functions,
            sentinel: shape.globals,
        },
        Some(offset) => recognise(wasm, shape).ok_or(Refusal::ReservedExport { offset })?,
    };
    let mut module = Module::new();
    let mut has_globals = false;
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::CodeSectionStart { .. } => {}
            Payload::CodeSectionEntry(body) => {
                code.raw(&with_grow_calls(body, &added)?);
                if code.len() + u32::from(added.now) == defined(shape, &added) {
                    if added.now {
                        code.function(&grow_function(added.sentinel));
                    }
                    module.section(&code);
                }
            }
            Payload::MemorySection(_) => {
                module.section(&limited_memory(shape, pages));
            }
            Payload::CustomSection(section) => {
                if matches!(section.name(), "manyhands" | "name") {
                    copy(&mut module, wasm, 0, section.range());
                }
            }
            other => {
                let Some((id, range)) = other.as_section() else {
                    continue;
                };
                has_globals |= id == SectionId::Global as u8;
                if id == SectionId::Export as u8 && !has_globals && added.now {
                    module.section(&sentinel_section());
                }
                match extension(id, &added) {
                    Some(item) if added.now => extend(&mut module, wasm, id, range, &item)?,
                    _ => copy(&mut module, wasm, id, range),
                }
            }
        }
    }
    Ok(module.finish())
}

/// How many bodies the shipped module's code section has.
fn defined(shape: &Shape, added: &Added) -> u32 {
    shape.bodies + u32::from(added.now)
}

fn copy(module: &mut Module, wasm: &[u8], id: u8, range: Range<usize>) {
    module.section(&RawSection {
        id,
        data: &wasm[range],
    });
}

/// Copies a section whose contents are a counted list, with one item more.
fn extend(
    module: &mut Module,
    wasm: &[u8],
    id: u8,
    range: Range<usize>,
    item: &[u8],
) -> Result<(), Refusal> {
    let mut reader = wasmparser::BinaryReader::new(&wasm[range.clone()], range.start);
    let count = reader.read_var_u32()?;
    let mut data = Vec::with_capacity(range.len() + item.len() + 1);
    (count + 1).encode(&mut data);
    data.extend_from_slice(&wasm[reader.original_position()..range.end]);
    data.extend_from_slice(item);
    module.section(&RawSection { id, data: &data });
    Ok(())
}

/// What is added to the section of this id: one item of its list, encoded.
fn extension(id: u8, added: &Added) -> Option<Vec<u8>> {
    // A section of one item, encoded, is its size, the count 1, and the item.
    let only_item = |section: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        section(&mut bytes);
        let size = bytes
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .expect("a section begins with its size");
        bytes.split_off(size + 2)
    };
    const TYPE: u8 = SectionId::Type as u8;
    const FUNCTION: u8 = SectionId::Function as u8;
    const GLOBAL: u8 = SectionId::Global as u8;
    const EXPORT: u8 = SectionId::Export as u8;
    match id {
        TYPE => Some(only_item(&|bytes| {
            let mut section = TypeSection::new();
            section.ty().function([ValType::I32], [ValType::I32]);
            section.encode(bytes);
        })),
        FUNCTION => {
            let mut item = Vec::new();
            added.ty.encode(&mut item);
            Some(item)
        }
        GLOBAL => Some(only_item(&|bytes| sentinel_section().encode(bytes))),
        EXPORT => Some(only_item(&|bytes| {
            let mut section = ExportSection::new();
            section.export(OOM_SENTINEL, ExportKind::Global, added.sentinel);
            section.encode(bytes);
        })),
        _ => None,
    }
}

fn sentinel_section() -> GlobalSection {
    let mut section = GlobalSection::new();
    let ty = GlobalType {
        val_type: ValType::I32,
        mutable: true,
        shared: false,
    };
    section.global(ty, &ConstExpr::i32_const(0));
    section
}

fn limited_memory(shape: &Shape, pages: u64) -> MemorySection {
    let maximum = shape.memory.maximum.map_or(pages, |own| own.min(pages));
    let mut section = MemorySection::new();
    section.memory(MemoryType {
        minimum: shape.memory.initial,
        maximum: Some(maximum),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    section
}

/// `memory.grow` that sets the sentinel and traps where it fails.
fn grow_function(sentinel: u32) -> Function {
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(0)
        .memory_grow(0)
        .local_tee(0)
        .i32_const(-1)
        .i32_eq()
        .if_(BlockType::Empty)
        .i32_const(1)
        .global_set(sentinel)
        .unreachable()
        .end()
        .local_get(0)
        .end();
    function
}

/// The body with a call of the growing function for each `memory.grow`.
fn with_grow_calls<'a>(body: &FunctionBody<'a>, added: &Added) -> Result<Cow<'a, [u8]>, Refusal> {
    let bytes = body.as_bytes();
    let grows = grows(body)?;
    if grows.is_empty() || !added.now {
        return Ok(bytes.into());
    }
    let start = body.range().start;
    let mut out = Vec::with_capacity(bytes.len() + 8 * grows.len());
    let mut copied = 0;
    for grow in grows {
        out.extend_from_slice(&bytes[copied..grow.start - start]);
        wasm_encoder::Instruction::Call(added.grow).encode(&mut out);
        copied = grow.end - start;
    }
    out.extend_from_slice(&bytes[copied..]);
    Ok(out.into())
}

/// Where a body grows the memory; offsets in the module.
fn grows(body: &FunctionBody<'_>) -> Result<Vec<Range<usize>>, Refusal> {
    let mut operators = body.get_operators_reader()?;
    let mut grows = Vec::new();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        match operator {
            Operator::MemoryGrow { .. } => grows.push(offset..operators.original_position()),
            Operator::TableGrow { .. } => return Err(Refusal::TableGrow { offset }),
            _ => {}
        }
    }
    Ok(grows)
}

/// Finds what an earlier pass has added, if it is all there as that pass
/// would have written it.
fn recognise(wasm: &[u8], shape: &Shape) -> Option<Added> {
    let grow = shape.functions.checked_sub(1)?;
    let sentinel = shape.globals.checked_sub(1)?;
    let expected = grow_function(sentinel).into_raw_body();
    let mut types_end = None;
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::FunctionSection(section) => types_end = section.into_iter().last(),
            Payload::GlobalSection(section) => {
                let global = section.into_iter().last()?.ok()?;
                let zero = global.init_expr.get_operators_reader().read().ok()?;
                let ty = global.ty;
                let as_added = ty.mutable
                    && ty.content_type == wasmparser::ValType::I32
                    && matches!(zero, Operator::I32Const { value: 0 });
                as_added.then_some(())?;
            }
            Payload::ExportSection(section) => {
                let export = section.into_iter().last()?.ok()?;
                let is_global = export.kind == wasmparser::ExternalKind::Global;
                (is_global && export.name == OOM_SENTINEL && export.index == sentinel)
                    .then_some(())?;
            }
            Payload::CodeSectionEntry(body) => {
                bodies += 1;
                let last = bodies == shape.bodies;
                let fits = if last {
                    body.as_bytes() == expected
                } else {
                    grows(&body).ok()?.is_empty()
                };
                fits.then_some(())?;
            }
            _ => {}
        }
    }
    let ty = types_end?.ok()?;
    Some(Added {
        now: false,
        ty,
        grow,
        sentinel,
    })
}
