//! A control group with a limit of memory, for a child process: version 1 or 2, whichever this machine has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use warp_io::{Dir, OsDir, write_all_at};

use crate::machine::proc_file;
use crate::run::Outcome;

const ROOT_V1: &str = "/sys/fs/cgroup/memory";
const ROOT_V2: &str = "/sys/fs/cgroup";
const PROCESSES: &str = "cgroup.procs";
/// The kernel may take a moment until the last process of a group is gone.
const REMOVE_ATTEMPTS: usize = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// A group below that of this process, so that its limits hold as well; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    pub(crate) version: u8,
}

impl Group {
    /// Makes a group with a limit, in bytes.
    ///
    /// # Errors
    /// That this machine has none, or lets nobody make one.
    pub(crate) fn make(limit: u64) -> Outcome<Group> {
        let (version, parent) =
            find(&proc_file("self", "cgroup")).ok_or("no cgroup has a memory controller here")?;
        let name = format!("warp-bench-{}", std::process::id());
        let parent_dir = OsDir::open(&parent, false)?;
        if version == 2 {
            // May be refused where the group has processes of its own; then the limit below cannot be written.
            let _ = set(&parent_dir, "cgroup.subtree_control", "+memory");
        }
        let dir = parent_dir.subdir(&name, true)?;
        let group = Group { path: parent.join(&name), version };
        let file = if version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        set(&*dir, file, &limit.to_string())?;
        Ok(group)
    }

    /// Where it is, for a child that is to join it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..REMOVE_ATTEMPTS {
            if rustix::fs::rmdir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
        eprintln!("warp-bench: {} could not be removed", self.path.display());
    }
}

/// Has this process join a group.
///
/// # Errors
/// What the system answers.
pub(crate) fn join(path: &Path) -> Outcome<()> {
    set(&OsDir::open(path, false)?, PROCESSES, &std::process::id().to_string())
}

fn set(dir: &dyn Dir, file: &str, text: &str) -> Outcome<()> {
    Ok(write_all_at(&*dir.open(file, true)?, 0, text.as_bytes())?)
}

/// Version and directory of the group of this process, from `/proc/self/cgroup`.
fn find(groups: &str) -> Option<(u8, PathBuf)> {
    let mut unified = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let below = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            return Some((1, Path::new(ROOT_V1).join(below)));
        }
        if number == "0" && controllers.is_empty() {
            unified = Some((2, Path::new(ROOT_V2).join(below)));
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let both = "9:name=systemd:/\n4:memory:/a/b\n0::/\n";
        assert_eq!(find(both), Some((1, PathBuf::from("/sys/fs/cgroup/memory/a/b"))));
        assert_eq!(find("0::/user.slice\n"), Some((2, PathBuf::from("/sys/fs/cgroup/user.slice"))));
        assert_eq!(find("3:cpu:/\n"), None);
    }
}
