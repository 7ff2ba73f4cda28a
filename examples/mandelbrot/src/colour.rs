//! Colours of escapes, in linear light, and their way to bytes.

use std::ops::Add;

/// Linear light; averages of it look as they should.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Colour {
    red: f64,
    green: f64,
    blue: f64,
}

impl Add for Colour {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            red: self.red + other.red,
            green: self.green + other.green,
            blue: self.blue + other.blue,
        }
    }
}

impl Colour {
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            red: self.red * factor,
            green: self.green * factor,
            blue: self.blue * factor,
        }
    }

    /// The display's bytes: its response is taken to be the square, which is near enough.
    pub(crate) fn to_rgba(self) -> [u8; 4] {
        let byte = |light: f64| (255.0 * light.sqrt() + 0.5) as u8;
        [byte(self.red), byte(self.green), byte(self.blue), 255]
    }
}

/// A closed ring of colours: night blue, sky, white, amber, brown, night again. As the display's
/// bytes; evenly spaced.
const RING: [[u8; 3]; 8] = [
    [3, 6, 38],
    [12, 44, 122],
    [46, 122, 205],
    [150, 207, 244],
    [250, 246, 221],
    [250, 183, 62],
    [186, 76, 18],
    [58, 14, 32],
];

/// How many turns of the ring a doubling of the steps makes.
const TURNS_PER_DOUBLING: f64 = 0.36;

/// The steps at which the first turn of the ring ends; far from the set all is night.
const FIRST_TURN: f64 = 5.0;

/// The ring in linear light.
pub(crate) struct Palette {
    ring: [Colour; RING.len()],
}

impl Palette {
    pub(crate) fn new() -> Self {
        let linear = |byte: u8| (f64::from(byte) / 255.0) * (f64::from(byte) / 255.0);
        Self {
            ring: RING.map(|[red, green, blue]| Colour {
                red: linear(red),
                green: linear(green),
                blue: linear(blue),
            }),
        }
    }

    /// The colour of a smooth number of steps. Points of the set are black: they add no light.
    pub(crate) fn of(&self, steps: f64) -> Colour {
        // Steps pile up near the set, so the ring turns with their logarithm.
        let turns = TURNS_PER_DOUBLING * log2(steps.max(FIRST_TURN) + 2.0);
        let place = (turns - turns.floor()) * RING.len() as f64;
        let from = place as usize % RING.len();
        let share = place - place.floor();
        // Eased, so that the ring's colours show no edges.
        let share = share * share * (3.0 - 2.0 * share);
        self.ring[from].scaled(1.0 - share) + self.ring[(from + 1) % RING.len()].scaled(share)
    }
}

/// log₂ of a positive, normal number, to about 12 digits. Our own, since the mathematical
/// libraries of two machines may differ in the last bit.
pub(crate) fn log2(value: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as f64 - 1023.0;
    let mantissa = f64::from_bits(bits & MANTISSA | 1.0_f64.to_bits());
    // ln m = 2 artanh((m − 1)/(m + 1)); the argument is below 1/3, so twelve terms are plenty.
    let argument = (mantissa - 1.0) / (mantissa + 1.0);
    let square = argument * argument;
    let mut series = 0.0;
    for odd in (0..12).rev() {
        series = series * square + 1.0 / f64::from(2 * odd + 1);
    }
    exponent + 2.0 * std::f64::consts::LOG2_E * argument * series
}
