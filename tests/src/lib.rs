//! What end-to-end tests are made of: processes of the real binary and real
//! browsers, both gone when their handle is. The tests of the system itself lie
//! beside `src/`; nothing here knows what a job is.

pub mod browser;
pub mod files;
pub mod group;
pub mod port;
pub mod process;
