//! The encoding of partials: postcard's, made canonical. Every NaN is written in one form and the
//! entries of a map are sorted by their encoded keys, so that bytes do not depend on what a hash
//! map went through. Decoding is postcard's own.

use serde::de::DeserializeOwned;
use serde::ser::{self, Serialize, Serializer};

use crate::{Error, Result};

type Postcard = postcard::Serializer<Buffer>;
type PostcardResult<T> = postcard::Result<T>;

/// The bits of the one NaN that is written: quiet, positive, no payload.
const NAN_32: f32 = f32::from_bits(0x7fc0_0000);
const NAN_64: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// Appends the encoding of `value` to `out`.
pub(crate) fn encode<T: Serialize>(value: &T, out: Vec<u8>) -> Result<Vec<u8>> {
    let mut canonical = Canonical {
        postcard: Postcard {
            output: Buffer(out),
        },
    };
    value
        .serialize(&mut canonical)
        .map_err(|error| Error::new(format_args!("a partial cannot be encoded: {error}")))?;
    Ok(canonical.postcard.output.0)
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes)
        .map_err(|error| Error::new(format_args!("a partial cannot be decoded: {error}")))?;
    if !rest.is_empty() {
        return Err(Error::new("a partial is followed by other bytes"));
    }
    Ok(value)
}

struct Buffer(Vec<u8>);

impl postcard::ser_flavors::Flavor for Buffer {
    type Output = Vec<u8>;

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> PostcardResult<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> PostcardResult<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> PostcardResult<Vec<u8>> {
        Ok(self.0)
    }
}

struct Canonical {
    postcard: Postcard,
}

/// Methods that postcard does as they should be done.
macro_rules! as_postcard {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(
            #[inline]
            fn $method(self, $($name: $type),*) -> PostcardResult<()> {
                self.postcard.$method($($name),*)
            }
        )*
    };
}

impl<'a> Serializer for &'a mut Canonical {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    as_postcard! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    fn serialize_f32(self, value: f32) -> PostcardResult<()> {
        self.postcard
            .serialize_f32(if value.is_nan() { NAN_32 } else { value })
    }

    fn serialize_f64(self, value: f64) -> PostcardResult<()> {
        self.postcard
            .serialize_f64(if value.is_nan() { NAN_64 } else { value })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> PostcardResult<()> {
        // postcard writes the tag and then the value, which must be written here.
        self.postcard.serialize_some(&())?;
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> PostcardResult<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> PostcardResult<()> {
        self.postcard.serialize_unit_variant(name, index, variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> PostcardResult<Self> {
        self.postcard.serialize_seq(len)?;
        Ok(self)
    }

    fn serialize_tuple(self, _len: usize) -> PostcardResult<Self> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> PostcardResult<Self> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _len: usize,
    ) -> PostcardResult<Self> {
        self.postcard.serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }

    fn serialize_map(self, len: Option<usize>) -> PostcardResult<Entries<'a>> {
        self.postcard.serialize_map(len)?;
        Ok(Entries {
            begin: self.postcard.output.0.len(),
            entries: Vec::with_capacity(len.unwrap_or(0)),
            canonical: self,
        })
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> PostcardResult<Self> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _len: usize,
    ) -> PostcardResult<Self> {
        self.postcard.serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }
}

/// Compounds whose parts simply follow each other.
macro_rules! parts_in_order {
    ($($trait:ident::$method:ident($($key:ident)?);)*) => {
        $(
            impl ser::$trait for &mut Canonical {
                type Ok = ();
                type Error = postcard::Error;

                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($key: &'static str,)?
                    value: &T,
                ) -> PostcardResult<()> {
                    value.serialize(&mut **self)
                }

                fn end(self) -> PostcardResult<()> {
                    Ok(())
                }
            }
        )*
    };
}

parts_in_order! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(_key);
    SerializeStructVariant::serialize_field(_key);
}

/// A map being written: its entries follow each other in the buffer as they come, and are put
/// into the order of their encoded keys at the end.
struct Entries<'a> {
    canonical: &'a mut Canonical,
    /// Where the first entry starts in the buffer.
    begin: usize,
    entries: Vec<Entry>,
}

/// Where an entry's key starts and ends and its value ends, counted from `Entries::begin`.
#[derive(Clone, Copy)]
struct Entry {
    key: usize,
    value: usize,
    end: usize,
}

impl Entries<'_> {
    fn written(&self) -> usize {
        self.canonical.postcard.output.0.len() - self.begin
    }
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = postcard::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> PostcardResult<()> {
        let start = self.written();
        key.serialize(&mut *self.canonical)?;
        let value = self.written();
        self.entries.push(Entry {
            key: start,
            value,
            end: value,
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> PostcardResult<()> {
        value.serialize(&mut *self.canonical)?;
        let end = self.written();
        self.entries
            .last_mut()
            .expect("serde gives a key before its value")
            .end = end;
        Ok(())
    }

    fn end(mut self) -> PostcardResult<()> {
        let buffer = &mut self.canonical.postcard.output.0;
        let unsorted = &buffer[self.begin..];
        let key = |entry: &Entry| &unsorted[entry.key..entry.value];
        // An ordered map's short keys come sorted already.
        if self.entries.is_sorted_by_key(key) {
            return Ok(());
        }
        self.entries.sort_by(|a, b| key(a).cmp(key(b)));
        let mut sorted = Vec::with_capacity(unsorted.len());
        for entry in &self.entries {
            sorted.extend_from_slice(&unsorted[entry.key..entry.end]);
        }
        buffer[self.begin..].copy_from_slice(&sorted);
        Ok(())
    }
}
