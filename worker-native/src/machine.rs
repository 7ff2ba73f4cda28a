//! What this machine is called and has. Each answer is a default that a user
//! may overrule.

use manyhands_protocol::limits::MAX_SLOTS;

/// Where the system does not say: 4 GiB.
const UNKNOWN_MEMORY: u64 = 4 << 30;

/// The host's name.
pub(crate) fn name() -> String {
    let name = host_name();
    if name.is_empty() {
        "worker".to_owned()
    } else {
        name
    }
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// The threads that this process may use at the same time.
pub(crate) fn threads() -> u16 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(threads).unwrap_or(MAX_SLOTS).min(MAX_SLOTS)
}

/// Three quarters of the memory that is free now, in bytes.
pub(crate) fn memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    available(&meminfo).unwrap_or(UNKNOWN_MEMORY) / 4 * 3
}

/// `MemAvailable` of Linux' `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_how_much_memory_is_available() {
        let meminfo = "MemTotal:       24688720 kB\nMemFree:        20100000 kB\nMemAvailable:   22000000 kB\n";
        assert_eq!(available(meminfo), Some(22_528_000_000));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
    }

    #[test]
    fn there_is_a_thread_and_a_name() {
        assert!((1..=MAX_SLOTS).contains(&threads()));
        assert!(!name().is_empty());
    }
}
