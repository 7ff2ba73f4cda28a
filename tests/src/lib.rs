//! What end-to-end tests and measurements are made of: processes of the real
//! binary and real browsers, both gone when their handle is; whole clusters of
//! them, and jobs to give them. The tests of the system itself lie beside `src/`.

#[cfg(target_os = "linux")]
pub mod alarm;
#[cfg(target_os = "linux")]
mod answer;
pub mod browser;
pub mod cluster;
#[cfg(target_os = "linux")]
pub mod cores;
#[cfg(target_os = "linux")]
pub mod far;
pub mod files;
pub mod group;
pub mod http;
pub mod jobs;
pub mod port;
pub mod process;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod tiny_disk;
pub mod yardstick;
