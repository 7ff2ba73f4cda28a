//! `manyhands-sim`: replays one seed, or runs seeds as long as wanted. The one
//! place here that reads a clock: to know when to end.

use manyhands_sim::{Fleet, Tally, Violation, check, measure, run};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: manyhands-sim --seed N [--lines L] | --minutes M [--from N] | --fleet RTT_MS [--from N]";

/// Runs that are measured.
const MEASURED: u64 = 10;

#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    lines: Option<u64>,
    minutes: Option<u64>,
    from: Option<u64>,
    fleet: Option<u64>,
}

fn arguments() -> Option<Arguments> {
    let mut parsed = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seed" => parsed.seed = Some(value),
            "--lines" => parsed.lines = Some(value),
            "--minutes" => parsed.minutes = Some(value),
            "--from" => parsed.from = Some(value),
            "--fleet" => parsed.fleet = Some(value),
            _ => return None,
        }
    }
    let asked = [parsed.seed, parsed.minutes, parsed.fleet];
    (asked.iter().flatten().count() == 1).then_some(parsed)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let fine = match (arguments.seed, arguments.fleet) {
        (Some(seed), _) => replay(seed, arguments.lines.unwrap_or(400)),
        (None, Some(round_trip_ms)) => fleet(round_trip_ms, arguments.from.unwrap_or(0)),
        (None, None) => explore(arguments.minutes.unwrap_or(1), arguments.from),
    };
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fleet(round_trip_ms: u64, from: u64) -> bool {
    for seed in from..from + MEASURED {
        match measure(Fleet::behind(round_trip_ms), seed) {
            Ok(measured) => println!(
                "seed {seed}: used {:.4}, busy {:.4}; end {:.1} ms, {:.3} of the ideal {:.1} ms; {} \
                 vanished, {} duplicates, {:.1} s",
                measured.used,
                measured.busy,
                measured.end_us as f64 / 1e3,
                measured.end_by_ideal(),
                measured.ideal_us as f64 / 1e3,
                measured.vanished,
                measured.duplicates,
                measured.took_us as f64 / 1e6,
            ),
            Err(violation) => {
                println!("{violation}");
                return false;
            }
        }
    }
    true
}

fn replay(seed: u64, lines: u64) -> bool {
    let outcome = run(seed, usize::try_from(lines).unwrap_or(usize::MAX));
    for line in &outcome.lines {
        println!("{line}");
    }
    let seconds = outcome.simulated_us as f64 / 1e6;
    println!(
        "seed {seed}: {} events in {seconds:.1} simulated seconds, {} starts of a coordinator, \
         trace {:016x}",
        outcome.events, outcome.starts, outcome.hash
    );
    show(&outcome.faults);
    match outcome.violation {
        Some(what) => println!("VIOLATION: {what}"),
        None => {
            println!("everything held");
            return true;
        }
    }
    false
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to go on is not simulated"
)]
fn explore(minutes: u64, from: Option<u64>) -> bool {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut seed = from.unwrap_or(since.as_secs() * 1_000_000);
    let (began, first) = (Instant::now(), seed);
    let span = Duration::from_secs(minutes * 60);
    let (mut faults, mut simulated_us, mut events) = (Tally::default(), 0, 0);
    let mut violations: Vec<Violation> = Vec::new();
    while began.elapsed() < span {
        match check(seed) {
            Ok(outcome) => {
                faults.merge(&outcome.faults);
                // It ran twice.
                simulated_us += 2 * outcome.simulated_us;
                events += 2 * outcome.events;
            }
            Err(violation) => {
                println!("{violation}\n");
                violations.push(*violation);
            }
        }
        seed += 1;
    }
    show(&faults);
    let (real, hours) = (began.elapsed().as_secs_f64(), simulated_us as f64 / 3.6e9);
    println!(
        "{} seeds from {first}: {hours:.1} simulated hours and {events} events in {:.1} minutes \
         ({:.1} hours a minute)",
        seed - first,
        real / 60.0,
        hours / (real / 60.0)
    );
    for violation in &violations {
        println!(
            "cargo xtask sim --seed {}: {}",
            violation.seed, violation.what
        );
    }
    violations.is_empty()
}

fn show(faults: &Tally) {
    for (kind, count) in faults.iter() {
        println!("{count:>9}  {kind}");
    }
}
