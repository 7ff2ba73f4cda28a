//! `manyhands coordinator`: serves workers, authors and the page.

use crate::error::Error;
use crate::interrupt::interrupted;
use crate::local::coordinators_child;
use crate::print;
use clap::Args;
use manyhands_coordinator::{Config, Coordinator, DEFAULT_LISTEN};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Start a coordinator: it hands out the work and serves the page for volunteers
#[derive(Args)]
#[command(
    after_help = "It listens on this machine alone unless told otherwise; on 0.0.0.0:7272 others can reach \
    it, and submitting needs the key that it prints. Lending a browser or a worker never needs one. Ctrl-C ends it."
)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,

    /// The folder of uploads and results [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// A name that browsers may use for this machine besides its addresses; may
    /// be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// What changing anything needs [default: nothing on this machine, a random
    /// key beyond]
    #[arg(
        long,
        value_name = "KEY",
        env = "MANYHANDS_KEY",
        hide_env_values = true
    )]
    key: Option<String>,

    /// Threads that check, merge and finish what workers send
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,

    /// Serve the page from this folder instead of the one built in
    #[arg(long, value_name = "DIR", hide = true)]
    www: Option<PathBuf>,
}

impl Serve {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let data = self.data_folder()?;
        let config = Config {
            listen: self.listen,
            key: self.key.clone(),
            allow_hosts: self.allow_host.clone(),
            www_dir: self.www.clone(),
            ..Config::new(data, coordinators_child(usize::from(self.threads))?)
        };
        let coordinator = Coordinator::start(config).await?;
        let facts = json!({
            "listen": coordinator.addr(),
            "url": coordinator.url(),
            "key": coordinator.key(),
        });
        print::answer(json, &facts, || welcome(&coordinator))?;
        tokio::select! {
            () = interrupted() => {}
            () = coordinator.closed() => return Err(Error::CoordinatorEnded),
        }
        eprintln!("closing");
        tokio::select! {
            () = coordinator.shutdown() => Ok(()),
            () = interrupted() => Err(Error::Interrupted { cancelled: None }),
        }
    }

    fn data_folder(&self) -> Result<PathBuf, Error> {
        let own = || Some(dirs::data_local_dir()?.join("manyhands"));
        self.data.clone().or_else(own).ok_or(Error::NoDataFolder)
    }
}

/// What to tell whom.
fn welcome(coordinator: &Coordinator) -> String {
    let url = coordinator.url();
    let mut text = format!(
        "Manyhands {} listens on {}\n  volunteers open  {url}\n  servers run      manyhands worker {url}\n  \
         authors run      manyhands run MODULE --coordinator {url}\n",
        env!("CARGO_PKG_VERSION"),
        coordinator.addr(),
    );
    if let Some(key) = coordinator.key() {
        text.push_str(&format!("  authors need     MANYHANDS_KEY={key}\n"));
    }
    text
}
