//! What the figures were measured on, and what this process holds at the moment.

use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use warp_io::{Dir, OsDir};

/// Machine, build and commit. What is not known reads "unknown".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) commit: String,
    pub(crate) rustc: &'static str,
    pub(crate) profile: &'static str,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    /// Looks around; `data` is the directory that the databases will lie in.
    pub(crate) fn look(data: &Path) -> Machine {
        Machine {
            cpu: field(&proc_file(".", "cpuinfo"), "model name").unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field(&proc_file(".", "meminfo"), "MemTotal").and_then(|text| kibibytes(&text)),
            kernel: or_unknown(proc_file("sys/kernel", "osrelease").trim()),
            file_system: file_system(data),
            commit: commit(),
            rustc: env!("WARP_BENCH_RUSTC"),
            profile: env!("WARP_BENCH_PROFILE"),
        }
    }
}

/// Memory and threads of this process, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory, mapped files included.
    pub(crate) resident_bytes: u64,
    /// The part of it that is backed by no file.
    pub(crate) anonymous_bytes: u64,
    /// Threads, the main one included.
    pub(crate) threads: u64,
}

impl Usage {
    /// As it is now; `None` where the kernel does not say.
    pub(crate) fn now() -> Option<Usage> {
        Usage::parse(&proc_file("self", "status"))
    }

    /// The anonymous memory of this process.
    ///
    /// # Errors
    /// A kernel that does not say what a process takes.
    pub(crate) fn anonymous() -> Result<u64, &'static str> {
        Usage::now().map(|usage| usage.anonymous_bytes).ok_or("the kernel does not tell what a process takes")
    }

    fn parse(status: &str) -> Option<Usage> {
        let bytes = |name| field(status, name).and_then(|text| kibibytes(&text));
        Some(Usage {
            resident_bytes: bytes("VmRSS")?,
            anonymous_bytes: bytes("RssAnon")?,
            threads: field(status, "Threads")?.parse().ok()?,
        })
    }
}

/// The most resident memory that this process ever had, mapped files included; `None` where the kernel does not say.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    kibibytes(&field(&proc_file("self", "status"), "VmHWM")?)
}

/// Bytes that this process has had read from devices so far; 0 where the kernel does not say.
pub(crate) fn read_bytes() -> u64 {
    io_bytes("self", "read_bytes")
}

/// Bytes that this thread has had read from devices so far; 0 where the kernel does not say.
pub(crate) fn thread_read_bytes() -> u64 {
    io_bytes("thread-self", "read_bytes")
}

/// Bytes that this process has had written to devices so far, or will have; 0 where the kernel does not say.
pub(crate) fn written_bytes() -> u64 {
    io_bytes("self", "write_bytes")
}

/// What the kernel counts under a name of a process or a thread; 0 where it does not.
fn io_bytes(of: &str, name: &str) -> u64 {
    field(&proc_file(of, "io"), name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The text of a file under `/proc`, empty where there is none.
pub(crate) fn proc_file(dir: &str, name: &str) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let file = OsDir::open(Path::new("/proc").join(dir), false)?.open(name, false)?;
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            // The length of such a file reads as zero: only the reads tell where it ends.
            match file.read_at(text.len() as u64, &mut piece)? {
                0 => return Ok(text),
                count => text.extend_from_slice(&piece[..count]),
            }
        }
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The text behind the first `name:`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() }
}

/// The type of the file system that holds `path`: its name for the usual ones, else its magic number.
fn file_system(path: &Path) -> String {
    /// From `linux/magic.h`; 0xEF53 is shared by ext2, ext3 and ext4.
    const KNOWN: [(u64, &str); 8] = [
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794C_7630, "overlayfs"),
        (0x2FC1_2FC1, "zfs"),
        (0xF2F5_2010, "f2fs"),
        (0x6969, "nfs"),
    ];
    let Ok(found) = rustix::fs::statfs(path) else { return UNKNOWN.to_owned() };
    let Ok(magic) = u64::try_from(found.f_type) else { return UNKNOWN.to_owned() };
    KNOWN
        .iter()
        .find(|(known, _)| *known == magic)
        .map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned())
}

/// The commit of the checkout that cargo runs this from, with `+dirty` if files differ from it.
fn commit() -> String {
    let Ok(checkout) = std::env::var("CARGO_MANIFEST_DIR") else { return UNKNOWN.to_owned() };
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").arg("-C").arg(&checkout).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return UNKNOWN.to_owned() };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if clean { hash } else { hash + "+dirty" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_by_name_and_unit() {
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nRssAnon:\t 1024 kB\nThreads:\t3\n";
        let usage = Usage::parse(status).unwrap();
        assert_eq!((usage.resident_bytes, usage.anonymous_bytes, usage.threads), (2 << 20, 1 << 20, 3));
        assert!(Usage::parse("VmRSS: 1 kB\n").is_none());
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let usage = Usage::now().unwrap();
        assert!(usage.resident_bytes >= usage.anonymous_bytes && usage.anonymous_bytes > 0);
        assert!(usage.threads >= 1);
        assert!(peak_resident_bytes().unwrap() >= usage.resident_bytes / 2);
    }

    #[test]
    fn the_machine_is_known_here() {
        let machine = Machine::look(Path::new("."));
        assert!(machine.cores >= 1);
        assert_ne!(machine.kernel, UNKNOWN);
        assert!(machine.rustc.starts_with("rustc "));
    }
}
