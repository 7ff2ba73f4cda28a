//! The encoding of partials is postcard's, and canonical.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::canonical::{decode, encode};

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    encode(value, Vec::new()).unwrap()
}

/// One of everything that postcard knows, without maps and NaN.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Everything {
    flag: bool,
    small: (i8, i16, i32, i64, i128),
    large: (u8, u16, u32, u64, u128),
    floats: [f64; 2],
    single: f32,
    letter: char,
    text: String,
    bytes: Bytes,
    list: Vec<Option<Shape>>,
    unit: (),
    wrapped: Wrapped,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Wrapped(u64);

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
enum Shape {
    Point,
    Circle(f64),
    Segment(i64, i64),
    Box { width: u32, height: u32 },
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        (-1e9..1e9).prop_map(Shape::Circle),
        any::<(i64, i64)>().prop_map(|(a, b)| Shape::Segment(a, b)),
        any::<(u32, u32)>().prop_map(|(width, height)| Shape::Box { width, height }),
    ]
}

prop_compose! {
    fn everything()(
        flag: bool,
        small: (i8, i16, i32, i64, i128),
        large: (u8, u16, u32, u64, u128),
        floats in [-1e300..1e300, -1.0..1.0],
        single in -1e30_f32..1e30,
        letter: char,
        text: String,
        bytes: Vec<u8>,
        list in proptest::collection::vec(proptest::option::of(shape()), 0..9),
        number: u64,
    ) -> Everything {
        Everything {
            flag, small, large, floats, single, letter, text, list,
            bytes: Bytes(bytes),
            unit: (),
            wrapped: Wrapped(number),
        }
    }
}

proptest! {
    #[test]
    fn without_maps_and_nan_it_is_postcard(value in everything()) {
        let bytes = encoded(&value);
        prop_assert_eq!(&bytes, &postcard::to_allocvec(&value).unwrap());
        prop_assert_eq!(decode::<Everything>(&bytes).unwrap(), value);
    }

    #[test]
    fn no_history_of_a_hash_map_shows(
        entries in proptest::collection::btree_map(".{0,6}", any::<i64>(), 0..40),
        order in any::<u64>(),
        extra in proptest::collection::vec(".{7,9}", 0..40),
    ) {
        let mut forwards: HashMap<String, i64> = HashMap::new();
        forwards.extend(entries.clone());
        // Another order, another capacity, holes where removed entries were, another hasher.
        let mut shuffled: Vec<_> = entries.clone().into_iter().collect();
        crate::Rng::of_task(order, 0).shuffle(&mut shuffled);
        let mut history: HashMap<String, i64> = HashMap::with_capacity(500);
        history.extend(extra.iter().map(|key| (key.clone(), 0)));
        history.extend(shuffled);
        for key in &extra {
            history.remove(key);
        }
        let bytes = encoded(&forwards);
        prop_assert_eq!(&encoded(&history), &bytes);
        prop_assert_eq!(&encoded(&entries), &bytes);
        prop_assert_eq!(decode::<BTreeMap<String, i64>>(&bytes).unwrap(), entries);
    }

    #[test]
    fn maps_in_maps_are_sorted_too(
        keys in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<f32>()), 0..60),
    ) {
        let mut one: HashMap<u16, Vec<HashMap<u32, f32>>> = HashMap::new();
        let mut other: BTreeMap<u16, Vec<BTreeMap<u32, f32>>> = BTreeMap::new();
        for (outer, inner, value) in keys {
            let outer = outer % 8;
            let one = one.entry(outer).or_insert_with(|| vec![HashMap::new()]);
            one[0].insert(inner, value);
            let other = other.entry(outer).or_insert_with(|| vec![BTreeMap::new()]);
            other[0].insert(inner, value);
        }
        prop_assert_eq!(encoded(&one), encoded(&other));
    }

    #[test]
    fn every_nan_is_written_alike(bits: u64, low: u32) {
        let double = f64::from_bits(bits | 0x7ff0_0000_0000_0001);
        let single = f32::from_bits(low | 0x7f80_0001);
        prop_assert!(double.is_nan() && single.is_nan());
        let written = encoded(&(Some(double), vec![single]));
        prop_assert_eq!(written, [1, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 1, 0, 0, 0xc0, 0x7f]);
    }

    #[test]
    fn bytes_of_a_stranger_do_not_panic(bytes: Vec<u8>) {
        let _ = decode::<Everything>(&bytes);
        let _ = decode::<HashMap<String, Vec<Shape>>>(&bytes);
    }
}

#[test]
fn signed_zero_and_infinities_are_kept() {
    let values = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY];
    let back: [f64; 4] = decode(&encoded(&values)).unwrap();
    assert_eq!(values.map(f64::to_bits), back.map(f64::to_bits));
}

#[test]
fn what_follows_a_partial_is_refused() {
    let mut bytes = encoded(&7_u64);
    bytes.push(0);
    let error = decode::<u64>(&bytes).unwrap_err();
    assert!(error.to_string().contains("followed by other bytes"));
    let error = decode::<u64>(&[]).unwrap_err();
    assert!(error.to_string().contains("cannot be decoded"));
}
