//! What users see: a string as it is, bytes raw, all else as JSON with its keys sorted.

use std::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

use crate::{Error, Result};

/// How JSON is laid out, and whether a line feed follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Indented: a whole result.
    Pretty,
    /// On one line, ended by a line feed, as a string is too; raw bytes are left as they are, and
    /// a `None` or a `()` is nothing at all.
    Line,
}

/// Appends `value` to `out`.
pub(crate) fn write<T: Serialize>(value: &T, layout: Layout, out: &mut Vec<u8>) -> Result<()> {
    match value.serialize(Probe { out }) {
        Ok(Raw::Text) => {
            if layout == Layout::Line {
                out.push(b'\n');
            }
            Ok(())
        }
        Ok(Raw::Bytes) => Ok(()),
        Ok(Raw::Nothing) if layout == Layout::Line => Ok(()),
        Ok(Raw::Nothing) | Err(NotRaw) => write_json(value, layout, out),
    }
}

/// JSON through `Value`, which puts NaN and the infinities to `null`. Sorted, as another crate of
/// the guest may have switched serde_json to insertion order.
fn write_json<T: Serialize>(value: &T, layout: Layout, out: &mut Vec<u8>) -> Result<()> {
    let unfit = |error| Error::new(format_args!("the output does not fit JSON: {error}"));
    let mut json = serde_json::to_value(value).map_err(unfit)?;
    json.sort_all_objects();
    match layout {
        Layout::Pretty => serde_json::to_writer_pretty(&mut *out, &json).map_err(unfit),
        Layout::Line => {
            serde_json::to_writer(&mut *out, &json).map_err(unfit)?;
            out.push(b'\n');
            Ok(())
        }
    }
}

/// Looks at the outermost value only: writes it if it is a string or bytes, and else gives up.
struct Probe<'a> {
    out: &'a mut Vec<u8>,
}

enum Raw {
    Text,
    Bytes,
    Nothing,
}

#[derive(Debug)]
struct NotRaw;

impl fmt::Display for NotRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither text nor bytes")
    }
}

impl std::error::Error for NotRaw {}

impl serde::ser::Error for NotRaw {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

/// Methods of values that are neither text nor bytes.
macro_rules! not_raw {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(
            fn $method(self, $(_: $type),*) -> Result<$ok, NotRaw> {
                Err(NotRaw)
            }
        )*
    };
}

impl Serializer for Probe<'_> {
    type Ok = Raw;
    type Error = NotRaw;
    type SerializeSeq = Impossible<Raw, NotRaw>;
    type SerializeTuple = Impossible<Raw, NotRaw>;
    type SerializeTupleStruct = Impossible<Raw, NotRaw>;
    type SerializeTupleVariant = Impossible<Raw, NotRaw>;
    type SerializeMap = Impossible<Raw, NotRaw>;
    type SerializeStruct = Impossible<Raw, NotRaw>;
    type SerializeStructVariant = Impossible<Raw, NotRaw>;

    fn serialize_str(self, text: &str) -> Result<Raw, NotRaw> {
        self.out.extend_from_slice(text.as_bytes());
        Ok(Raw::Text)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Raw, NotRaw> {
        self.out.extend_from_slice(bytes);
        Ok(Raw::Bytes)
    }

    fn serialize_none(self) -> Result<Raw, NotRaw> {
        Ok(Raw::Nothing)
    }

    fn serialize_unit(self) -> Result<Raw, NotRaw> {
        Ok(Raw::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Raw, NotRaw> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Raw, NotRaw> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Raw, NotRaw> {
        Err(NotRaw)
    }

    not_raw! {
        serialize_bool(bool) -> Raw;
        serialize_i8(i8) -> Raw;
        serialize_i16(i16) -> Raw;
        serialize_i32(i32) -> Raw;
        serialize_i64(i64) -> Raw;
        serialize_i128(i128) -> Raw;
        serialize_u8(u8) -> Raw;
        serialize_u16(u16) -> Raw;
        serialize_u32(u32) -> Raw;
        serialize_u64(u64) -> Raw;
        serialize_u128(u128) -> Raw;
        serialize_f32(f32) -> Raw;
        serialize_f64(f64) -> Raw;
        serialize_char(char) -> Raw;
        serialize_unit_struct(&'static str) -> Raw;
        serialize_unit_variant(&'static str, u32, &'static str) -> Raw;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
