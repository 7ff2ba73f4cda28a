//! `cargo xtask instructions`: counts what fixed work of the pure crates costs, and
//! compares it with what is committed. Instructions do not depend on how fast or
//! busy the machine is. The work itself lies in `tests/loads`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::run::{self, cargo, say};
use crate::tools;
use crate::workspace::{Workspace, root};

/// Options of `cargo xtask instructions`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Commit to the present counts: write them down
    #[arg(long)]
    accept: bool,
}

const PACKAGE: &str = "manyhands-loads";
const PROFILE: &str = "instructions";

/// How far a count may be off, in percent.
const TOLERANCE: f64 = 3.0;

/// Names, and what they cost, as counted with one compiler.
#[derive(PartialEq, Eq, Debug)]
struct Counts {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares or writes down.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        say("instructions are NOT compared: the committed ones are of Linux on x86-64");
        return Ok(());
    }
    let file = root().join("tests/loads/instructions.txt");
    let compiler = compiler()?;
    let committed = if options.accept {
        None
    } else {
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        Some(Counts::parse(&text)?)
    };
    if let Some(committed) = &committed
        && committed.compiler != compiler
    {
        // Another compiler's counts tell nothing of a change of ours.
        say(format!(
            "instructions are NOT compared: the committed ones are of {}, this is {compiler}; \
             `cargo xtask instructions --accept` on the commit before yours, then again without",
            committed.compiler
        ));
        return Ok(());
    }
    tools::valgrind()?;
    let counted = run::step("count instructions", || count(compiler))?;
    match committed {
        None => {
            std::fs::write(&file, counted.text())?;
            say(format!("wrote {}: commit it and say why", file.display()));
            Ok(())
        }
        Some(committed) => compare(&committed, &counted),
    }
}

/// The compiler that counts are of, as its version.
fn compiler() -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = run::output(Command::new(program).arg("--version").current_dir(root()))?;
    Ok(version.trim().to_owned())
}

/// Builds the loads and runs each of them once.
fn count(compiler: String) -> Result<Counts> {
    run::run(cargo().args(["build", "--profile", PROFILE, "--package", PACKAGE]))?;
    let folder = Workspace::load()?.target.join(PROFILE);
    let program = folder.join(PACKAGE);
    let names = run::output(&mut Command::new(&program))?;
    let mut instructions = BTreeMap::new();
    for name in names.lines() {
        instructions.insert(name.to_owned(), count_one(&program, &folder, name)?);
    }
    Ok(Counts {
        compiler,
        instructions,
    })
}

fn count_one(program: &Path, folder: &Path, name: &str) -> Result<u64> {
    let out: PathBuf = folder.join(format!("callgrind.{name}"));
    let mut command = Command::new("valgrind");
    command
        // Whoever runs this has settings of their own.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .args(["--tool=callgrind", "--toggle-collect=*counted_work*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(name);
    let result = command.stdin(Stdio::null()).output();
    let result = result.context("cannot start valgrind")?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        bail!(
            "{name} ended with {} under valgrind:\n{said}",
            result.status
        );
    }
    let text = std::fs::read_to_string(&out)?;
    total(&text).with_context(|| format!("{} has no count", out.display()))
}

/// What callgrind counted in all.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|count| *count > 0)
}

impl Counts {
    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let compiler = first
            .strip_prefix("# ")
            .context("the first line is to name the compiler")?;
        let mut instructions = BTreeMap::new();
        for line in lines {
            let parsed = line.split_once(' ').and_then(|(name, count)| {
                let count = count.trim().parse().ok()?;
                Some((name.to_owned(), count))
            });
            let (name, count) = parsed.with_context(|| format!("`{line}` is no count"))?;
            instructions.insert(name, count);
        }
        Ok(Self {
            compiler: compiler.to_owned(),
            instructions,
        })
    }

    fn text(&self) -> String {
        let mut text = format!("# {}\n", self.compiler);
        for (name, count) in &self.instructions {
            writeln!(text, "{name} {count}").expect("a string takes all");
        }
        text
    }
}

/// Fails naming every count that is off, in either direction.
fn compare(committed: &Counts, counted: &Counts) -> Result<()> {
    let mut off = Vec::new();
    for (name, now) in &counted.instructions {
        let Some(before) = committed.instructions.get(name) else {
            off.push(format!("{name}: {now}, and no count is committed"));
            continue;
        };
        let change = (*now as f64 / *before as f64 - 1.0) * 100.0;
        say(format!("{name}: {now} ({change:+.2} %)"));
        if change.abs() > TOLERANCE {
            off.push(format!(
                "{name}: {now} instead of {before} ({change:+.1} %)"
            ));
        }
    }
    for name in committed.instructions.keys() {
        if !counted.instructions.contains_key(name) {
            off.push(format!("{name}: is committed, and there is no such load"));
        }
    }
    if off.is_empty() {
        return Ok(());
    }
    bail!(
        "these are more than {TOLERANCE} % off:\n  {}\nif that is meant, run `cargo xtask \
         instructions --accept`, commit tests/loads/instructions.txt, and say why",
        off.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        Counts {
            compiler: "rustc 1.95.0".into(),
            instructions: list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect(),
        }
    }

    #[test]
    fn counts_are_written_as_they_are_read() {
        let counts = counts(&[("a-load", 12), ("other", 3)]);
        assert_eq!(Counts::parse(&counts.text()).unwrap(), counts);
        assert!(Counts::parse("a-load 12\n").is_err());
        assert!(Counts::parse("# rustc\na-load\n").is_err());
    }

    #[test]
    fn both_directions_and_unknown_names_are_told() {
        let before = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("gone", 1)]);
        let now = counts(&[("a", 1029), ("b", 1031), ("c", 969), ("new", 1)]);
        let error = compare(&before, &now).unwrap_err().to_string();
        assert!(!error.contains("a: 1029"), "{error}");
        for part in ["b: 1031", "c: 969", "new: 1", "gone: ", "--accept"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(compare(&before, &before).is_ok());
    }

    #[test]
    fn a_run_that_counted_nothing_is_no_count() {
        assert_eq!(total("events: Ir\ntotals: 42\n"), Some(42));
        assert_eq!(total("totals: 0\n"), None);
        assert_eq!(total("summary: 42\n"), None);
    }
}
