//! How much memory there is.

use std::fs;

/// The share of memory that PostgreSQL's own cache gets: an eighth. The rest is for its sessions,
/// for us, and for the pages of files that the kernel keeps.
const CACHE_SHARE: u64 = 8;
/// The smallest and the largest cache, in mebibytes.
const CACHE_MB: (u64, u64) = (128, 2_048);

/// How much of this machine's memory, or of that which the container may use, PostgreSQL's own cache
/// gets, in mebibytes.
pub(crate) fn cache_mb() -> u32 {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    share(&machine, &container)
}

fn share(machine: &str, container: &str) -> u32 {
    let machine_mb = machine.lines().find_map(|line| {
        let (number, _unit) = line.strip_prefix("MemTotal:")?.trim().split_once(' ')?;
        Some(number.parse::<u64>().ok()? >> 10)
    });
    // Without a limit the file says `max`.
    let limit = container.trim().parse::<u64>().ok();
    let machine_mb = machine_mb.unwrap_or_default();
    let memory_mb = limit.map_or(machine_mb, |bytes| machine_mb.min(bytes >> 20));
    let (least, most) = CACHE_MB;
    let cache = (memory_mb / CACHE_SHARE).clamp(least, most);
    u32::try_from(cache).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_an_eighth_of_what_may_be_used() {
        let machine = "MemTotal:       8388608 kB\nMemFree:         1000 kB\n";
        assert_eq!(share(machine, "max\n"), 1_024);
        assert_eq!(share(machine, "4294967296\n"), 512);
        assert_eq!(share(machine, "9223372036854771712\n"), 1_024);
        assert_eq!(share("MemTotal: 99999999999 kB\n", ""), 2_048);
        assert_eq!(share(machine, "1000000\n"), 128);
        assert_eq!(share("", ""), 128, "nothing is known");
    }
}
