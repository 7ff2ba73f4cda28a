//! The inner loop: z² + c for all lanes, once in vectors of Wasm's SIMD and once in plain Rust, for
//! tests and for other machines. Both round alike, so that they are the same function.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use plain::advance;
#[cfg(target_arch = "wasm32")]
pub(crate) use vectors::advance;

#[cfg(not(target_arch = "wasm32"))]
mod plain {
    use crate::orbit::{LANES, Lanes};

    /// Steps all lanes until the square of the distance of one is above `escaped`, or `most` steps are
    /// done; gives how many were.
    pub(crate) fn advance(lanes: &mut Lanes, most: u64, escaped: f64) -> u64 {
        let Lanes {
            mut x,
            mut y,
            real,
            imaginary,
        } = *lanes;
        let mut steps = 0;
        while steps < most {
            let x2: [f64; LANES] = std::array::from_fn(|lane| x[lane] * x[lane]);
            let y2: [f64; LANES] = std::array::from_fn(|lane| y[lane] * y[lane]);
            // No short cut: that would be a branch a lane.
            let over = (0..LANES).fold(false, |over, lane| over | (x2[lane] + y2[lane] > escaped));
            if over {
                break;
            }
            for lane in 0..LANES {
                y[lane] = (x[lane] + x[lane]) * y[lane] + imaginary[lane];
                x[lane] = x2[lane] - y2[lane] + real[lane];
            }
            steps += 1;
        }
        (lanes.x, lanes.y) = (x, y);
        steps
    }
}

#[cfg(target_arch = "wasm32")]
mod vectors {
    use crate::orbit::{LANES, Lanes};
    use std::arch::wasm32::{
        f64x2, f64x2_add, f64x2_extract_lane, f64x2_gt, f64x2_mul, f64x2_splat, f64x2_sub, v128,
        v128_any_true, v128_or,
    };
    use std::array;

    const VECTORS: usize = LANES / 2;

    /// As above. Compiled with SIMD whatever the rest is compiled with: the module then asks for it.
    #[target_feature(enable = "simd128")]
    pub(crate) fn advance(lanes: &mut Lanes, most: u64, escaped: f64) -> u64 {
        let escaped = f64x2_splat(escaped);
        let (real, imaginary) = (load(&lanes.real), load(&lanes.imaginary));
        let (mut x, mut y) = (load(&lanes.x), load(&lanes.y));
        let mut steps = 0;
        while steps < most {
            let x2: [v128; VECTORS] = array::from_fn(|at| f64x2_mul(x[at], x[at]));
            let y2: [v128; VECTORS] = array::from_fn(|at| f64x2_mul(y[at], y[at]));
            let mut over = f64x2_gt(f64x2_add(x2[0], y2[0]), escaped);
            for at in 1..VECTORS {
                over = v128_or(over, f64x2_gt(f64x2_add(x2[at], y2[at]), escaped));
            }
            if v128_any_true(over) {
                break;
            }
            for at in 0..VECTORS {
                y[at] = f64x2_add(f64x2_mul(f64x2_add(x[at], x[at]), y[at]), imaginary[at]);
                x[at] = f64x2_add(f64x2_sub(x2[at], y2[at]), real[at]);
            }
            steps += 1;
        }
        (lanes.x, lanes.y) = (store(x), store(y));
        steps
    }

    #[target_feature(enable = "simd128")]
    fn load(lanes: &[f64; LANES]) -> [v128; VECTORS] {
        array::from_fn(|at| f64x2(lanes[2 * at], lanes[2 * at + 1]))
    }

    #[target_feature(enable = "simd128")]
    fn store(vectors: [v128; VECTORS]) -> [f64; LANES] {
        array::from_fn(|lane| {
            let vector = vectors[lane / 2];
            match lane % 2 {
                0 => f64x2_extract_lane::<0>(vector),
                _ => f64x2_extract_lane::<1>(vector),
            }
        })
    }
}
