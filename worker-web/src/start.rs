//! Start functions of modules. A browser runs one before anybody can see the
//! instance's memory, so that the imports it calls could not reach it, as they
//! can in native engines. Here it becomes an export that the slot calls first.
//! Modules are taken apart only as far as that needs.

use std::borrow::Cow;

/// What `slot.js` calls it.
pub(crate) const EXPORT: &str = "manyhands: start";

/// Length of the magic number and the version.
const PREAMBLE: usize = 8;
const EXPORTS: u8 = 7;
const START: u8 = 8;

/// The module with its start function as the export [`EXPORT`]; unchanged if it
/// has none. So is a module that exports that name already, or is malformed:
/// the browser will say so.
pub(crate) fn as_export(module: &[u8]) -> Cow<'_, [u8]> {
    with_export(module).map_or(Cow::Borrowed(module), Cow::Owned)
}

fn with_export(module: &[u8]) -> Option<Vec<u8>> {
    let start = sections(module)?.find(|section| section.id == START)?;
    let mut out = module.get(..PREAMBLE)?.to_vec();
    for section in sections(module)? {
        match section.id {
            START => {}
            EXPORTS => push_section(
                &mut out,
                EXPORTS,
                &extended(section.contents, start.contents)?,
            ),
            id => push_section(&mut out, id, section.contents),
        }
    }
    Some(out)
}

/// The list of exports with one more, of the function of this (encoded) index.
fn extended(exports: &[u8], function: &[u8]) -> Option<Vec<u8>> {
    let (count, list) = number(exports)?;
    let mut rest = list;
    for _ in 0..count {
        let (len, after) = number(rest)?;
        let (name, after) = after.split_at_checked(len as usize)?;
        if name == EXPORT.as_bytes() {
            return None;
        }
        let (_kind, after) = after.split_first()?;
        (_, rest) = number(after)?;
    }
    let mut out = Vec::with_capacity(exports.len() + EXPORT.len() + 8);
    push_number(&mut out, count.checked_add(1)?);
    out.extend_from_slice(list);
    push_number(&mut out, EXPORT.len() as u32);
    out.extend_from_slice(EXPORT.as_bytes());
    out.push(0);
    out.extend_from_slice(function);
    Some(out)
}

struct Section<'a> {
    id: u8,
    contents: &'a [u8],
}

/// The sections up to the end or to what is none.
fn sections(module: &[u8]) -> Option<impl Iterator<Item = Section<'_>>> {
    let mut rest = module.get(PREAMBLE..)?;
    Some(std::iter::from_fn(move || {
        let (id, after) = rest.split_first()?;
        let (len, after) = number(after)?;
        let contents;
        (contents, rest) = after.split_at_checked(len as usize)?;
        Some(Section { id: *id, contents })
    }))
}

/// A LEB128 number of 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn push_number(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_section(out: &mut Vec<u8>, id: u8, contents: &[u8]) {
    out.push(id);
    push_number(out, contents.len() as u32);
    out.extend_from_slice(contents);
}
