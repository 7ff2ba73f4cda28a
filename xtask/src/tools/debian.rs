//! Browsers and their drivers: by apt on Debian and what descends from it. On
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
const WANTED: [Wanted; 5] = [
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

/// Makes sure that the browsers and drivers of the tests are there.
pub(crate) fn browsers() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if run::find("apt-get").is_none() {
        bail!("the tests drive browsers: please install what Debian calls {packages}");
    }
    let Some(root) = as_root() else {
        bail!("the tests drive browsers: please run `sudo apt-get install {packages}`");
    };
    run::step(&format!("install {packages}"), || {
        run::run(apt(root).args(["-q", "update"]))?;
        run::run(
            apt(root)
                .args(["-qy", "install", "--no-install-recommends"])
                .args(&missing),
        )
    })?;
    let missing = self::missing();
    if !missing.is_empty() {
        bail!("apt-get installed {packages}, but they are not on the PATH");
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    WANTED
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
