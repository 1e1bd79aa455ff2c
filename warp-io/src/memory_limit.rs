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
    limits().map(|(_, limit)| limit).chain(of_machine("MemTotal:")).min()
}

/// Bytes of memory that nobody uses, or that the system keeps files in and would give to whoever needs it; `None` where
/// the system does not say. In a control group with a limit no more than is left of that.
///
/// Linux: `MemAvailable` of `/proc/meminfo`; for a group its limit less its use, where pages of files are not counted as
/// used. A group's `memory.high` is not looked at.
///
/// ```
/// if let (Some(available), Some(limit)) = (warp_io::memory_available(), warp_io::memory_limit()) {
///     assert!(available <= limit);
/// }
/// ```
#[must_use]
pub fn memory_available() -> Option<u64> {
    limits().map(|(file, limit)| left_of(&file, limit)).chain(of_machine("MemAvailable:")).min()
}

fn of_machine(name: &str) -> Option<u64> {
    field_of(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// The limits of the process's control groups, and the files that say so.
fn limits() -> impl Iterator<Item = (PathBuf, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = group_files(&groups, Path::new("/sys/fs/cgroup")).into_iter();
    files.filter_map(|file| number_in(&file).map(|limit| (file, limit)))
}

fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// What is left of the limit that a file gives; all of it where the system does not say what is used.
fn left_of(file: &Path, limit: u64) -> u64 {
    let used = ["memory.current", "memory.usage_in_bytes"];
    let used = used.iter().find_map(|name| number_in(&file.with_file_name(name))).unwrap_or_default();
    let stat = fs::read_to_string(file.with_file_name("memory.stat")).unwrap_or_default();
    limit.saturating_sub(used.saturating_sub(file_bytes(&stat)))
}

/// What the pages of files take, as `memory.stat` of a group says: with those of the groups below, for which version 1 has
/// names of its own.
fn file_bytes(stat: &str) -> u64 {
    let of = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let names = [("total_active_file ", "active_file "), ("total_inactive_file ", "inactive_file ")];
    names.iter().filter_map(|(all, own)| of(all).or_else(|| of(own))).sum()
}

/// A field of `/proc/meminfo`, in bytes.
fn field_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
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
        let total = |text| field_of(text, "MemTotal:");
        assert_eq!(total("MemFree: 3 kB\nMemTotal:       24000 kB\n"), Some(24_576_000));
        assert_eq!(total("MemTotal: many kB"), None);
        assert_eq!(total(""), None);
    }

    #[test]
    fn what_files_take_of_a_group_is_left() {
        assert_eq!(file_bytes("anon 5\ninactive_file 7\nactive_file 11\n"), 18);
        let with_totals = "active_file 1\ninactive_file 2\ntotal_active_file 30\ntotal_inactive_file 40\n";
        assert_eq!(file_bytes(with_totals), 70);
        assert_eq!(file_bytes("file 5\n"), 0);
        for (name, used) in
            [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
        {
            let scratch = tempfile::tempdir().unwrap();
            let put = |name: &str, text: &str| fs::write(scratch.path().join(name), text).unwrap();
            put(name, "1000\n");
            let limit = scratch.path().join(name);
            assert_eq!(left_of(&limit, 1_000), 1_000);
            put(used, "600\n");
            assert_eq!(left_of(&limit, 1_000), 400);
            put("memory.stat", "anon 400\nactive_file 50\ninactive_file 150\n");
            assert_eq!(left_of(&limit, 1_000), 600);
            assert_eq!(left_of(&limit, 300), 0);
        }
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
