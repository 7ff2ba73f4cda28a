//! Browsers and their drivers, valgrind, and iproute2: by apt on Debian and what descends from it. On
//! other systems one line says what to install.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// Something that has to be on the machine, and the Debian package that brings it.
struct Wanted {
    /// Any one of these programs will do.
    programs: &'static [&'static str],
    package: &'static str,
}

/// Chromium, Firefox and WebKitGTK with what drives them. WebKitGTK's
/// MiniBrowser comes with the library that its driver depends on, and needs an
/// X server, for which Xvfb stands in. Firefox's driver is no Debian package.
const BROWSERS: [Wanted; 5] = [
    Wanted {
        programs: &["chromium"],
        package: "chromium",
    },
    Wanted {
        programs: &["chromedriver"],
        package: "chromium-driver",
    },
    Wanted {
        programs: &["firefox-esr", "firefox"],
        package: "firefox-esr",
    },
    Wanted {
        programs: &["WebKitWebDriver"],
        package: "webkit2gtk-driver",
    },
    Wanted {
        programs: &["Xvfb"],
        package: "xvfb",
    },
];

const VALGRIND: [Wanted; 1] = [Wanted {
    programs: &["valgrind"],
    package: "valgrind",
}];

const NETWORK: [Wanted; 1] = [Wanted {
    programs: &["ip"],
    package: "iproute2",
}];

/// Makes sure that the browsers and drivers of the tests are there.
pub(crate) fn browsers() -> Result<()> {
    install(&BROWSERS, "the tests drive browsers")
}

/// Makes sure that instructions can be counted.
pub(crate) fn valgrind() -> Result<()> {
    install(&VALGRIND, "instructions are counted by valgrind")
}

/// Makes sure that networks can be made of namespaces.
pub(crate) fn network() -> Result<()> {
    install(&NETWORK, "a far network is made of namespaces")
}

/// Installs what is missing; where that cannot be done, says `why` it is wanted.
fn install(wanted: &[Wanted], why: &str) -> Result<()> {
    let packages = missing(wanted);
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if run::find("apt-get").is_none() {
        bail!("{why}: please install what Debian calls {names}");
    }
    let Some(root) = as_root() else {
        bail!("{why}: please run `sudo apt-get install {names}`");
    };
    run::step(&format!("install {names}"), || {
        run::run(apt(root).args(["-q", "update"]))?;
        run::run(
            apt(root)
                .args(["-qy", "install", "--no-install-recommends"])
                .args(&packages),
        )
    })?;
    if !missing(wanted).is_empty() {
        bail!("apt-get installed {names}, but they are not on the PATH");
    }
    Ok(())
}

fn missing(wanted: &[Wanted]) -> Vec<&'static str> {
    wanted
        .iter()
        .filter(|wanted| {
            wanted
                .programs
                .iter()
                .all(|program| run::find(program).is_none())
        })
        .map(|wanted| wanted.package)
        .collect()
}

/// Words to put before a command that needs to be root; `None` if this user
/// cannot be without being asked for a password.
fn as_root() -> Option<&'static [&'static str]> {
    let owner_only = Path::new("/var/lib/apt/lists/partial");
    if run::succeeds(Command::new("test").arg("-w").arg(owner_only)) {
        return Some(&[]);
    }
    run::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

fn apt(root: &[&str]) -> Command {
    // Debconf must not wait for an answer that nobody gives.
    let words: Vec<&str> = root
        .iter()
        .copied()
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
