//! A picture of the Mandelbrot set, or of a place at its shore. A task is a row.
//!
//! Only +, −, ×, ÷ and square roots of `f64` are used, which every engine rounds alike; so the
//! picture is the same to the last bit wherever its rows were computed.

mod colour;
mod orbit;
mod steps;

use colour::{Colour, Palette};
use manyhands_guest_sdk::prelude::*;
use orbit::Orbits;

/// The parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandelbrot {
    /// Pixels a row.
    width: u32,
    /// Rows.
    height: u32,
    /// After how many steps a point that has not escaped counts as one of the set.
    #[serde(default = "default_iterations")]
    iterations: u32,
    /// The point in the middle of the picture, real and imaginary part.
    #[serde(default = "default_center")]
    center: [f64; 2],
    /// 1 shows the whole set: the shorter side of the picture is then 3 long.
    #[serde(default = "default_zoom")]
    zoom: f64,
    /// A pixel is the mean of `samples` × `samples` points.
    #[serde(default = "default_samples")]
    samples: u32,
}

fn default_iterations() -> u32 {
    1000
}

fn default_center() -> [f64; 2] {
    [-0.75, 0.0]
}

fn default_zoom() -> f64 {
    1.0
}

fn default_samples() -> u32 {
    1
}

#[job]
impl Concat for Mandelbrot {
    fn check(&self) -> Result<()> {
        if !(1..=65_536).contains(&self.width) || !(1..=65_536).contains(&self.height) {
            bail!("`width` and `height` must be 1 to 65536");
        }
        if !(1..=16).contains(&self.samples) {
            bail!("`samples` must be 1 to 16");
        }
        if !(self.zoom.is_finite() && self.zoom > 0.0) {
            bail!("`zoom` must be positive");
        }
        if self.iterations == 0 {
            bail!("`iterations` must be at least 1");
        }
        Ok(())
    }

    fn tasks(&self) -> u64 {
        self.height.into()
    }

    fn run(&self, task: &Task, out: &mut Vec<u8>) {
        let row = task.index() as u32;
        let mut sums = vec![Colour::default(); self.width as usize];
        for sample in 0..self.samples {
            self.add_line(row * self.samples + sample, &mut sums);
        }
        let share = 1.0 / f64::from(self.samples * self.samples);
        for sum in sums {
            out.extend(sum.scaled(share).to_rgba());
        }
    }

    fn media(&self) -> Media {
        Media::rgba(self.width, self.height).bytes_per_task(4 * u64::from(self.width))
    }
}

impl Mandelbrot {
    /// Adds the colours of one line of points to the pixels they belong to.
    fn add_line(&self, line: u32, sums: &mut [Colour]) {
        let samples = f64::from(self.samples);
        let (columns, lines) = (
            f64::from(self.width) * samples,
            f64::from(self.height) * samples,
        );
        let step = 3.0 / (self.zoom * columns.min(lines));
        let palette = Palette::new();
        let orbits = Orbits {
            left: self.center[0] + (0.5 - 0.5 * columns) * step,
            step,
            // Rows go down, imaginary parts up.
            imaginary: self.center[1] - (f64::from(line) + 0.5 - 0.5 * lines) * step,
            count: self.width * self.samples,
            iterations: self.iterations,
        };
        orbits.for_each_escape(|point, escape| {
            let pixel = (point / self.samples) as usize;
            sums[pixel] = sums[pixel] + palette.of(escape);
        });
    }
}

#[cfg(test)]
mod tests;
