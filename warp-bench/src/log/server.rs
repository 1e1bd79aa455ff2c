//! A Redis server of this machine, as a child process with a socket in the run's own directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::committer::Mode;
use super::resp::Connection;
use crate::child::{self, Killed};
use crate::run::Outcome;

const PROGRAM: &str = "redis-server";
/// A socket's path has to fit into 108 bytes, the zero behind it included.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const START_ATTEMPTS: usize = 500;
const START_PAUSE: Duration = Duration::from_millis(10);

/// What a server keeps on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// A file that every write is appended to, and synced before it is answered.
    LogAlways,
    /// The same, synced every second.
    LogEverySecond,
    /// A snapshot when it is asked for one.
    Snapshot,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    socket: PathBuf,
    child: Killed,
}

/// Whether there is a server to start.
pub(crate) fn is_there() -> bool {
    Command::new(PROGRAM).arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Server {
    /// Starts a server that appends every write to a file in `dir`, and syncs it always or every second.
    ///
    /// # Errors
    /// What the system answers; that the server cannot be reached.
    pub(crate) fn start(dir: &Path, mode: Mode) -> Outcome<Server> {
        Server::start_with(
            dir,
            match mode {
                Mode::Sync => Persistence::LogAlways,
                Mode::Lazy => Persistence::LogEverySecond,
            },
        )
    }

    /// Starts a server on what is in `dir`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(crate) fn start_with(dir: &Path, persistence: Persistence) -> Outcome<Server> {
        let socket = dir.join("redis.sock");
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err("the path of the server's socket is too long; --dir can make it shorter".into());
        }
        let (log, sync) = match persistence {
            Persistence::LogAlways => ("yes", "always"),
            Persistence::LogEverySecond => ("yes", "everysec"),
            Persistence::Snapshot => ("no", "no"),
        };
        let mut command = Command::new(PROGRAM);
        command.current_dir(dir).args([
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            log,
            "--appendfsync",
            sync,
        ]);
        // A rewrite of the file in the middle of a pass is no part of what is compared.
        command
            .args(["--auto-aof-rewrite-percentage", "0", "--logfile", "redis.log", "--unixsocket"])
            .arg(&socket);
        let (child, ..) = child::start(&mut command)?;
        let server = Server { socket, child };
        for _ in 0..START_ATTEMPTS {
            if server.connect().is_ok() {
                return Ok(server);
            }
            thread::sleep(START_PAUSE);
        }
        Err("the Redis server does not answer; its log is redis.log".into())
    }

    /// Ends the server with SIGKILL.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()
    }

    /// Another connection.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn connect(&self) -> Outcome<Connection> {
        Connection::open(&self.socket)
    }
}
