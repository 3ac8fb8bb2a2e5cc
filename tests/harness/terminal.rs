//! The program on a terminal of its own, which script(1) creates (Linux).

use super::until;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The running program. It is killed, with its terminal, when this is dropped.
pub struct OnTerminal {
    script: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// How the program ended.
pub struct Ended {
    pub code: Option<i32>,
    pub shown: String,
    /// Whether the terminal echoes keys again, and turns Ctrl-C into a signal.
    pub restored: bool,
}

impl OnTerminal {
    /// Starts the program with these arguments on a terminal of 60 columns and 30 rows.
    pub fn start(arguments: &[&str]) -> Self {
        let rft = env!("CARGO_BIN_EXE_rft");
        // The settings of the terminal are shown after the program's end.
        let line = format!(
            "stty cols 60 rows 30; (exec {rft} {}); code=$?; stty -a; exit $code",
            arguments.join(" ")
        );
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]);
        script.env("TERM", "xterm").env_remove("RFT_PASSWORD");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let text = shown.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { script, keys, shown, reader: Some(reader) }
    }

    /// Waits until this text has been shown.
    pub fn shows(&self, text: &str) {
        until(text, || self.shown.lock().unwrap().contains(text));
    }

    /// Waits until the terminal passes each key to the program, Ctrl-C included. Before that it
    /// turns a Ctrl-C into a signal itself.
    pub fn reads_single_keys(&self) {
        until("the program reads keys one by one", || {
            let settings = self.program().and_then(settings_of);
            settings.is_some_and(|settings| settings.contains("-isig"))
        });
    }

    /// Types these keys.
    pub fn types(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.program().unwrap()), signal).unwrap();
    }

    /// Takes the terminal away. Waits until the program has ended.
    pub fn hangs_up(mut self) {
        let program = self.program().unwrap();
        self.script.kill().unwrap();
        until("the program ends with its terminal", || command_of(program).is_none());
    }

    /// Waits for the end of the program.
    pub fn ends(mut self) -> Ended {
        let code = Cell::new(None);
        let script = Mutex::new(&mut self.script);
        until("the program ends", || {
            code.set(script.lock().unwrap().try_wait().unwrap());
            code.get().is_some()
        });
        self.reader.take().unwrap().join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        let mut settings = shown.split_whitespace();
        let restored = ["isig", "echo"].iter().all(|on| settings.any(|word| word == *on));
        Ended { code: code.get().unwrap().code(), shown, restored }
    }

    /// The process of the program, once it runs.
    fn program(&self) -> Option<u32> {
        let shell = child_of(self.script.id())?;
        child_of(shell).filter(|child| command_of(*child).is_some_and(|name| name == "rft"))
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if let Some(program) = self.program() {
            let _ = kill_process(pid(program), Signal::KILL);
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split(' ').next()?.parse().ok()
}

/// The name of a process that has not ended.
fn command_of(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    (!rest.trim_start().starts_with('Z')).then(|| name.to_owned())
}

/// The settings of the terminal of a process.
fn settings_of(process: u32) -> Option<String> {
    let terminal = fs::read_link(format!("/proc/{process}/fd/0")).ok()?;
    if !terminal.starts_with("/dev/pts") {
        return None;
    }
    let settings = Command::new("stty").arg("-F").arg(terminal).arg("-a").output().unwrap();
    Some(String::from_utf8_lossy(&settings.stdout).into_owned())
}
