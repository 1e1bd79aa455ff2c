//! How much memory this process may use.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that the machine has, or that the process's control groups allow, whichever is less; `None` where the
/// system does not say.
///
/// Linux: `MemTotal` of `/proc/meminfo`, and the limits of the process's group and of those above it, in version 1 or 2 of
/// [control groups](https://docs.kernel.org/admin-guide/cgroup-v2.html).
///
/// ```
/// if let Some(bytes) = warp_io::memory_limit() {
///     assert!(bytes > 1 << 20);
/// }
/// ```
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups, Path::new("/sys/fs/cgroup"));
    let limits = limits.iter().filter_map(|file| fs::read_to_string(file).ok());
    limits.filter_map(|text| text.trim().parse().ok()).chain(machine).min()
}

/// `MemTotal` in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

/// The files that may limit a process whose groups are as `/proc/self/cgroup` says.
fn group_files(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, name) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        // The groups above limit it, too.
        let own = root.join(path.trim_start_matches('/'));
        files.extend(own.ancestors().take_while(|dir| dir.starts_with(&root)).map(|dir| dir.join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_in_kibibytes() {
        assert_eq!(total_of("MemFree: 3 kB\nMemTotal:       24000 kB\n"), Some(24_576_000));
        assert_eq!(total_of("MemTotal: many kB"), None);
        assert_eq!(total_of(""), None);
    }

    #[test]
    fn every_group_above_counts() {
        let files = group_files("0::/a/b\n", Path::new("/g"));
        let expected = ["/g/a/b/memory.max", "/g/a/memory.max", "/g/memory.max"].map(PathBuf::from);
        assert_eq!(files, expected);
        let files = group_files("7:cpu,memory:/x\n3:cpuset:/\nnonsense\n", Path::new("/g"));
        let expected =
            ["/g/memory/x/memory.limit_in_bytes", "/g/memory/memory.limit_in_bytes"].map(PathBuf::from);
        assert_eq!(files, expected);
    }
}
