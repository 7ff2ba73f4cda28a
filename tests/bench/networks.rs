//! Slow networks and unlike machines, in the simulation: how much of the machines
//! is used, and how long a job's end takes. What both mean is said in
//! `manyhands_sim::fleet`, whose clock is not this machine's.

use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median};
use manyhands_sim::{Fleet, Measured, measure};

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    for round_trip_ms in [1, 50, 300] {
        let seeds = plan.work(30, 1);
        let runs = tokio::task::spawn_blocking(move || {
            let fleet = Fleet::behind(round_trip_ms);
            let one = |seed| measure(fleet, seed).unwrap_or_else(|fault| panic!("{fault}"));
            (0..seeds).map(one).collect::<Vec<Measured>>()
        });
        let runs = runs.await.expect("the simulation runs");
        rows(round_trip_ms, &runs, table);
    }
}

fn rows(round_trip_ms: u64, runs: &[Measured], table: &mut Table) {
    let each = |of: &dyn Fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
    let used = each(&|run| run.used);
    let what = format!("round trip {round_trip_ms} ms: slot time that is used");
    let vanished: u64 = runs.iter().map(|run| run.vanished).sum();
    let note = format!("{} seeds, {vanished} machines vanished", runs.len());
    let row = Row::of("networks", what, Unit::Ratio, &used);
    table.add(row.at_least(0.95).note(note));
    let end = each(&Measured::end_by_ideal);
    let ms = |of: fn(&Measured) -> u64| median(&each(&|run| of(run) as f64 / 1e3));
    let (took, ideal, climb) = (
        ms(|run| run.end_us),
        ms(|run| run.ideal_us),
        ms(|run| run.climb_us),
    );
    let what = format!("round trip {round_trip_ms} ms: the job's end against the ideal");
    let row = Row::of("networks", what, Unit::Ratio, &end);
    let note = format!(
        "{took:.2} ms, the ideal {ideal:.2} ms, of which {climb:.2} ms are the merges above the \
         last block"
    );
    table.add(row.at_most(1.2).note(note));
}
