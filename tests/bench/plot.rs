//! Plots of text: one line a point, beside what the logarithm would allow.

use crate::scheduler::Series;
use crate::table::median;
use std::fmt::Write as _;

/// Columns that the longest bar has.
const WIDTH: f64 = 40.0;

/// What an event costs, `#`, and, `|`, what it might cost at most: the first point's
/// cost, grown as the logarithm of the size has.
pub(crate) fn logarithmic(all: &[Series]) -> String {
    let allowed = |series: &Series| {
        let first = &series.points[0];
        let base = median(&first.micros) / (first.size as f64).ln();
        let sizes = series.points.iter().map(|point| point.size as f64);
        sizes.map(|size| base * size.ln()).collect::<Vec<f64>>()
    };
    let costs = |series: &Series| {
        let points = series.points.iter();
        points
            .map(|point| median(&point.micros))
            .collect::<Vec<f64>>()
    };
    let all_values = all
        .iter()
        .flat_map(|series| allowed(series).into_iter().chain(costs(series)));
    let scale = WIDTH / all_values.fold(f64::MIN_POSITIVE, f64::max);
    let column = |micros: f64| (micros * scale).round() as usize;
    let mut text = String::from("microseconds an event (#), and the logarithm (|)\n");
    for series in all {
        let points = series.points.iter().zip(costs(series)).zip(allowed(series));
        for (at, ((point, cost), allowed)) in points.enumerate() {
            let of = if at == 0 { series.of } else { "" };
            let mut bar: Vec<char> = vec![' '; WIDTH as usize + 1];
            bar[..column(cost)].fill('#');
            bar[column(allowed)] = '|';
            let bar: String = bar.into_iter().collect();
            writeln!(text, "{of:<32}{:>9}  {bar} {cost:.3}", point.size)
                .expect("a string takes all");
        }
    }
    text
}
