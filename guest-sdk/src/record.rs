//! Functions over records (`#[map]`): how a record becomes their argument and their result bytes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};
use serde::ser::Serialize;

use crate::answer::{self, Layout};
use crate::task::lines;
use crate::{Error, Result, Task};

/// The parameters of a mapped function that takes none: anything will do.
#[derive(Clone, Copy, Debug)]
pub struct NoParams;

impl<'de> Deserialize<'de> for NoParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Calls `function` with each line of the task's input and appends what it gives to `out`.
pub fn map_lines<'t, A, R, E>(
    task: &'t Task,
    out: &mut Vec<u8>,
    function: impl Fn(A) -> Result<R, E>,
) -> Result<()>
where
    A: Deserialize<'t>,
    R: Serialize,
    E: fmt::Display,
{
    for (number, line) in lines(task.input()).enumerate() {
        map_one(line, out, &function)
            .map_err(|error| error.context(format_args!("line {}", number + 1)))?;
    }
    Ok(())
}

/// Calls `function` with the task's whole input and appends what it gives to `out`.
pub fn map_task<'t, A, R, E>(
    task: &'t Task,
    out: &mut Vec<u8>,
    function: impl Fn(A) -> Result<R, E>,
) -> Result<()>
where
    A: Deserialize<'t>,
    R: Serialize,
    E: fmt::Display,
{
    map_one(task.input(), out, &function)
}

fn map_one<'t, A, R, E>(
    record: &'t [u8],
    out: &mut Vec<u8>,
    function: &impl Fn(A) -> Result<R, E>,
) -> Result<()>
where
    A: Deserialize<'t>,
    R: Serialize,
    E: fmt::Display,
{
    let argument = A::deserialize(Record(record))?;
    let value = function(argument).map_err(Error::new)?;
    answer::write(&value, Layout::Line, out)
}

/// A record as a serde source: strings and bytes are the record itself, all else is read as JSON.
struct Record<'t>(&'t [u8]);

impl<'t> Record<'t> {
    fn json<T>(
        self,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::SliceRead<'t>>,
        ) -> serde_json::Result<T>,
    ) -> serde_json::Result<T> {
        let mut json = serde_json::Deserializer::from_slice(self.0);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }

    fn text(self) -> serde_json::Result<&'t str> {
        std::str::from_utf8(self.0).map_err(serde::de::Error::custom)
    }
}

/// Methods that JSON does as they should be done.
macro_rules! as_json {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(
            fn $method<V: Visitor<'de>>(
                self,
                $($name: $type,)*
                visitor: V,
            ) -> Result<V::Value, Self::Error> {
                self.json(|json| json.$method($($name,)* visitor))
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Record<'de> {
    type Error = serde_json::Error;

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_bytes(self.0)
    }

    as_json! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}
