//! A child process that opens a database and does as it is told: fed with records, asked for its memory, killed.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use warp_api::Options;

use crate::machine::Usage;
use crate::run::Outcome;
use crate::wire::{self, Order};

/// What the child is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct FeedArguments {
    dir: PathBuf,
    /// Take checkpoints on demand only, so that the log stays whole.
    #[arg(long)]
    on_demand: bool,
}

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs this program with the arguments that `tell` adds, and returns what it printed; `what` is what it is called if it
/// fails. What it has to say on standard error goes where ours does.
///
/// # Errors
/// What the system answers; that it did not end well.
pub(crate) fn answer(what: &str, tell: impl FnOnce(&mut Command) -> &mut Command) -> Outcome<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = tell(&mut command).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{what} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Settings under which only a call takes a checkpoint, and none is thrown away.
pub(crate) fn on_demand() -> Options {
    Options::new().checkpoint_log_bytes(u64::MAX).checkpoint_interval(NEVER)
}

/// The child's side: carries out orders from standard input until they end.
///
/// # Errors
/// What the engine and the pipes answer.
pub(crate) fn feed(arguments: &FeedArguments) -> Outcome<()> {
    let options = if arguments.on_demand { on_demand() } else { Options::new() };
    let engine = options.open(&arguments.dir)?;
    let mut orders = BufReader::new(io::stdin().lock());
    let (mut key, mut value) = (Vec::new(), Vec::new());
    loop {
        let answer = match Order::read(&mut orders)? {
            Order::Put => {
                wire::read_put(&mut orders, &mut key, &mut value)?;
                engine.put(&key, &value)?;
                continue;
            }
            Order::Checkpoint => {
                engine.checkpoint()?;
                "done".to_owned()
            }
            Order::Sync => {
                engine.sync()?;
                "done".to_owned()
            }
            Order::Usage => {
                let usage = Usage::now().unwrap_or_default();
                format!("{} {} {}", usage.resident_bytes, usage.anonymous_bytes, usage.threads)
            }
            Order::End => return Ok(()),
        };
        println!("{answer}");
    }
}

/// The parent's side of a child that is fed.
#[derive(Debug)]
pub(crate) struct Fed {
    orders: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Killed,
}

impl Fed {
    /// Starts a child on a database.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn start(dir: &Path, on_demand: bool) -> Outcome<Fed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("feed").arg(dir);
        if on_demand {
            command.arg("--on-demand");
        }
        let (child, orders, answers) = start(&mut command)?;
        Ok(Fed { orders: BufWriter::new(orders), answers: BufReader::new(answers), child })
    }

    /// Has a record put.
    ///
    /// # Errors
    /// What the pipe answers.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(wire::write_put(&mut self.orders, key, value)?)
    }

    /// Gives an order that is answered, and waits for the answer.
    ///
    /// # Errors
    /// What the pipe answers; that the child ended.
    pub(crate) fn ask(&mut self, order: Order) -> Outcome<String> {
        order.write(&mut self.orders)?;
        self.orders.flush()?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer)? {
            0 => Err("the child process ended early".into()),
            _ => Ok(answer),
        }
    }

    /// Memory and threads of the child.
    ///
    /// # Errors
    /// As [`Fed::ask`].
    pub(crate) fn usage(&mut self) -> Outcome<Usage> {
        let answer = self.ask(Order::Usage)?;
        let numbers: Result<Vec<u64>, _> = answer.split_whitespace().map(str::parse).collect();
        match numbers?[..] {
            [resident_bytes, anonymous_bytes, threads] => {
                Ok(Usage { resident_bytes, anonymous_bytes, threads })
            }
            _ => Err("the child's answer is not three numbers".into()),
        }
    }

    /// Ends the child with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn kill(mut self) -> Outcome<()> {
        self.child.kill()
    }
}

/// A child process that does not outlive its handle.
#[derive(Debug)]
pub(crate) struct Killed(Child);

impl Killed {
    /// Ends the child with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be gone already, and nobody is left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a child with pipes on its standard input and output.
///
/// # Errors
/// What the system answers.
pub(crate) fn start(command: &mut Command) -> Outcome<(Killed, ChildStdin, ChildStdout)> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let child = Killed(child);
    let (orders, answers) = pipes.ok_or("the child process has no pipes")?;
    Ok((child, orders, answers))
}
