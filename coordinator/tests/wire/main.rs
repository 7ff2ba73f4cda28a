//! A whole coordinator over real sockets: the HTTP API, and workers made by
//! hand that speak the protocol byte by byte.

mod api;
mod crew;
mod doors;
mod guarded;
mod guests;
mod hostile;
mod nearby;
mod restarts;
mod setup;
mod watching;
mod workers;
