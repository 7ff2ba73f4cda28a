//! The programs around a browser: its WebDriver server, with the flags and the
//! fresh folders that it gives to the browser, and the display for the one that
//! has no headless mode.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fantoccini::wd::Capabilities;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval};

use super::{BrowserError, Engine};
use crate::group::Group;
use crate::port;

/// How long a driver may take to listen; it is a matter of 20 ms on a machine
/// that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running WebDriver server; dropping it ends it and its browser.
#[derive(Debug)]
pub(super) struct Driver {
    engine: Engine,
    url: String,
    group: Group,
    // Dropped last: the display and the folder outlive what uses them.
    _display: Option<Group>,
    folder: TempDir,
}

impl Driver {
    /// Starts the server of `engine` and waits until it listens.
    pub(super) async fn start(engine: Engine) -> Result<Self, BrowserError> {
        let folder = TempDir::with_prefix("manyhands-browser-")?;
        let port = port::free()?;
        let program = match engine {
            Engine::Chromium => "chromedriver",
            Engine::Firefox => "geckodriver",
            Engine::WebKit => "WebKitWebDriver",
        };
        let mut command = Command::new(find(program)?);
        command.arg(format!("--port={port}"));
        // Whatever a browser keeps, it keeps in the folder that goes with it.
        for name in [
            "HOME",
            "TMPDIR",
            "XDG_RUNTIME_DIR",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
        ] {
            command.env(name, folder.path());
        }
        let display = match engine {
            Engine::Chromium | Engine::Firefox => None,
            Engine::WebKit => Some(on_display(&mut command).await?),
        };
        let log = File::create(folder.path().join(LOG))?;
        let group = Group::start(&command, log.try_clone()?, log)?;
        let mut driver = Self {
            engine,
            url: format!("http://127.0.0.1:{port}"),
            group,
            _display: display,
            folder,
        };
        driver.listening(program, port).await?;
        Ok(driver)
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What it printed so far.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The browser that is to be opened.
    pub(super) fn capabilities(&self) -> Capabilities {
        let capabilities = match self.engine {
            Engine::Chromium => chromium(&self.folder.path().join("profile").to_string_lossy()),
            Engine::Firefox => firefox(),
            Engine::WebKit => webkit(),
        };
        match capabilities {
            Value::Object(map) => map,
            other => unreachable!("capabilities are an object, not {other}"),
        }
    }

    /// None of the three says in a way common to all when it listens, so the
    /// port is asked.
    async fn listening(&mut self, program: &'static str, port: u16) -> Result<(), BrowserError> {
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = interval(Duration::from_millis(10));
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_err()
        {
            if self.group.ended()?.is_some() || Instant::now() > deadline {
                let log = self.log();
                return Err(BrowserError::Start { program, log });
            }
            ticks.tick().await;
        }
        Ok(())
    }
}

/// The driver's output, in its folder.
const LOG: &str = "driver.log";

/// No sandbox, since tests may run as root; nothing that calls home.
fn chromium(profile: &str) -> Value {
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-extensions",
            "--disable-sync",
            "--metrics-recording-only",
            "--no-default-browser-check",
            "--no-first-run",
            format!("--user-data-dir={profile}"),
        ] },
    })
}

/// Its driver makes a fresh profile by itself.
fn firefox() -> Value {
    json!({
        "browserName": "firefox",
        "moz:firefoxOptions": {
            "args": ["-headless"],
            "prefs": {
                "app.normandy.enabled": false,
                "app.update.enabled": false,
                "browser.safebrowsing.malware.enabled": false,
                "browser.safebrowsing.phishing.enabled": false,
                "datareporting.policy.dataSubmissionEnabled": false,
                "extensions.getAddons.cache.enabled": false,
                "network.captive-portal-service.enabled": false,
                "network.connectivity-service.enabled": false,
                "services.settings.server": "data:,",
                "toolkit.telemetry.enabled": false,
            },
        },
    })
}

/// Under automation it keeps nothing on disk.
fn webkit() -> Value {
    let binary = mini_browser().map(|file| file.to_string_lossy().into_owned());
    json!({
        "browserName": "MiniBrowser",
        "webkitgtk:browserOptions": { "binary": binary, "args": ["--automation"] },
    })
}

/// WebKitGTK's test browser, which lies beside its library, not on the `PATH`.
fn mini_browser() -> Option<PathBuf> {
    // /usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser, or with libexec for lib.
    let roots = ["/usr/lib", "/usr/lib64", "/usr/libexec"].map(PathBuf::from);
    let libraries = roots.iter().flat_map(|root| entries(root));
    let mut found: Vec<_> = libraries
        .flat_map(|library| entries(&library))
        .chain(roots.iter().flat_map(|root| entries(root)))
        .filter(|folder| name_of(folder).starts_with("webkit"))
        .map(|folder| folder.join("MiniBrowser"))
        .filter(|file| file.is_file())
        .collect();
    found.sort();
    found.pop()
}

/// What lies in a folder; nothing, if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.map(|entry| entry.path()).collect()
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Starts an X server without a screen and lets `command` draw there.
async fn on_display(command: &mut Command) -> Result<Group, BrowserError> {
    let mut server = Command::new(find("Xvfb")?);
    server.args([
        "-displayfd",
        "1",
        "-screen",
        "0",
        "1600x1200x24",
        "-nolisten",
        "tcp",
    ]);
    let mut group = Group::start(&server, Stdio::piped(), Stdio::null())?;
    let stdout = group.stdout().expect("standard output is piped");
    // It writes its number when clients may come, and ends its output if not.
    let number = spawn_blocking(move || -> io::Result<String> {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line)
    });
    let number = number.await.map_err(io::Error::other)??;
    if number.trim().is_empty() {
        let log = String::new();
        return Err(BrowserError::Start {
            program: "Xvfb",
            log,
        });
    }
    command
        .env("DISPLAY", format!(":{}", number.trim()))
        .env("GDK_BACKEND", "x11")
        .env("GSETTINGS_BACKEND", "memory")
        .env("NO_AT_BRIDGE", "1")
        .env_remove("WAYLAND_DISPLAY");
    Ok(group)
}

/// The program's path. (`cargo xtask test` puts what it installed on the `PATH`.)
fn find(program: &'static str) -> Result<PathBuf, BrowserError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(BrowserError::Missing(program))
}
