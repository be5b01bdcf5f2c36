//! A shell that owns a server: it reads commands from a pipe and answers each with a line. When the pipe closes, however
//! this process ended, the shell's script stops the server and removes its files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

pub(super) struct Keeper {
    server: &'static str,
    shell: Mutex<Shell>,
}

struct Shell {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the shell, and the named server in it.
    pub(super) fn start(server: &'static str, shell: &mut Command) -> Self {
        // Its own group: Ctrl-C reaches the tests only, and the shell cleans up after them.
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().unwrap_or_else(|error| panic!("{server} does not start: {error}"));
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let shell = Shell { commands: child.stdin.take(), answers, child };
        let keeper = Self { server, shell: Mutex::new(shell) };
        keeper.tell("start");
        keeper
    }

    /// Returns when it is done.
    pub(super) fn tell(&self, command: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let told = shell.commands.as_mut().is_some_and(|commands| writeln!(commands, "{command}").is_ok());
        let mut answer = String::new();
        let heard = shell.answers.read_line(&mut answer).is_ok();
        assert!(told && heard && answer == "done\n", "{} did not {command}: {answer}", self.server);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(shell.commands.take());
        let _ = shell.child.wait();
    }
}
