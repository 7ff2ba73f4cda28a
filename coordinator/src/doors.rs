//! Where connections come in, and which threads serve them: workers' sockets run
//! beside the driver, and so does who hands something in and waits for what the
//! driver makes of it. Those who look have threads of their own, so that they are
//! answered while ten thousand workers are. Both serve all routes: which threads a
//! connection is served on is guessed by its first bytes, and costs a little time
//! where the guess is wrong.

use crate::app::App;
use crate::routes;
use crate::start::FAREWELL;
use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Threads for looks: a second one, so that one large download does not keep all
/// others waiting.
const THREADS: usize = 2;

/// How a look begins, unless it is a worker's connection, which begins like this.
const LOOK: &[u8] = b"GET ";
const WORKER: &[u8] = b"GET /ws";

/// Connections that may wait to be served.
const WAITING: usize = 1024;

type Arrival = (std::net::TcpStream, SocketAddr);

/// Connections that were sorted, as a listener.
struct Door {
    arrivals: mpsc::Receiver<Arrival>,
    address: SocketAddr,
}

/// Begins to serve what comes to `listener`, until the coordinator closes.
pub(crate) fn open(app: &Arc<App>, listener: TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    let listener = listener.into_std()?;
    let (beside, arrivals) = mpsc::channel(WAITING);
    let (apart, looks) = mpsc::channel(WAITING);
    let door = |arrivals| Door { arrivals, address };
    app.tasks.spawn(serve(Arc::clone(app), door(arrivals)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("looks")
        .enable_all()
        .build()?;
    let (app, door) = (Arc::clone(app), door(looks));
    // Counted from here on, so that nobody finds all put away before it begins.
    let tracked = app.tasks.token();
    let looking = move || {
        runtime.block_on(async {
            let sorting = sort_all(Arc::clone(&app), listener, beside, apart);
            tokio::spawn(app.closing.clone().run_until_cancelled_owned(sorting));
            serve(Arc::clone(&app), door).await;
        });
        drop(tracked);
        runtime.shutdown_timeout(FAREWELL);
    };
    thread::Builder::new()
        .name("looks".into())
        .spawn(looking)
        .map(drop)
}

async fn serve(app: Arc<App>, door: Door) {
    let closing = app.closing.clone().cancelled_owned();
    let server = axum::serve(door, routes::router(app));
    if let Err(error) = server.with_graceful_shutdown(closing).await {
        tracing::error!(%error, "the server ended");
    }
}

/// Takes connections in, for ever.
async fn sort_all(
    app: Arc<App>,
    listener: std::net::TcpListener,
    beside: mpsc::Sender<Arrival>,
    apart: mpsc::Sender<Arrival>,
) {
    let mut listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "closing: nobody can connect");
            return app.closing.cancel();
        }
    };
    loop {
        // It deals with errors itself.
        let (stream, from) = Listener::accept(&mut listener).await;
        let (beside, apart) = (beside.clone(), apart.clone());
        let sorting = async move {
            if let Err(error) = sort(stream, from, &beside, &apart).await {
                tracing::debug!(%error, "a connection ended before it said anything");
            }
        };
        tokio::spawn(app.closing.clone().run_until_cancelled_owned(sorting));
    }
}

/// Waits for a connection's first bytes, which stay where they are, and hands it on.
async fn sort(
    stream: TcpStream,
    from: SocketAddr,
    beside: &mpsc::Sender<Arrival>,
    apart: &mpsc::Sender<Arrival>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; WORKER.len()];
    let len = stream.peek(&mut first).await?;
    let first = &first[..len];
    let door = match first.starts_with(LOOK) && first != WORKER {
        true => apart,
        false => beside,
    };
    // A door that is shut drops what comes: the coordinator closes.
    let _ = door.send((stream.into_std()?, from)).await;
    Ok(())
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Some((stream, from)) = self.arrivals.recv().await else {
                // Nothing comes any more; whoever serves hears of the end elsewhere.
                std::future::pending::<()>().await;
                unreachable!("nothing wakes it");
            };
            // From here on its events wake the threads that serve it.
            match TcpStream::from_std(stream) {
                Ok(stream) => return (stream, from),
                Err(error) => tracing::warn!(%error, "a connection is dropped"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
