//! One thread prints; the engine's threads hand events over and go on.

mod area;
pub(crate) mod banner;
mod failures;
pub(crate) mod json;
mod limit;
mod progress;
#[cfg(test)]
mod sample;
pub(crate) mod state;
pub(crate) mod terminal;
pub(crate) mod text;

use json::Json;
use rft::event::{Direction, Event, EventSink};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use terminal::Terminal;

/// Events that may wait to be printed.
const QUEUE: usize = 8192;
/// More waiting events than that, and progress is not worth queueing.
const BUSY: usize = 256;
/// In a burst, what comes within so long is printed together: to wake the printing thread for each
/// event of ten thousand small files costs as much as to seal them.
const BURST: Duration = Duration::from_millis(3);
/// How long nothing may happen before the printing thread looks up.
const IDLE: Duration = Duration::from_secs(3600);

/// The way to the printing thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    sender: SyncSender<Message>,
    shared: Arc<OutputState>,
}

struct OutputState {
    queued: AtomicUsize,
    /// With `--json` nothing is left out: a full queue makes the engine wait for its reader, as a
    /// pipe does. A terminal that stands still makes nobody wait; what it misses is counted.
    lossless: bool,
    missed: [Missed; 2],
    ended: Mutex<bool>,
    end: Condvar,
}

#[derive(Default)]
struct Missed {
    files: AtomicU64,
    bytes: AtomicU64,
}

enum Message {
    Event(SystemTime, Event),
    Line(String),
    /// Lines that the user asked for, whatever is shown else.
    Report(String),
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Answered when all before it is printed.
    Sync(SyncSender<()>),
    End(u8, String),
}

impl Output {
    /// Starts the printing thread.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(terminal: Terminal, json: Option<Json>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let shared = Arc::new(OutputState {
            queued: AtomicUsize::new(0),
            lossless: json.is_some(),
            missed: Default::default(),
            ended: Mutex::new(false),
            end: Condvar::new(),
        });
        let printer = Printer { terminal, json, receiver, shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("rft-output".into()).spawn(move || printer.run())?;
        Ok(Self { sender, shared })
    }

    /// Where the engine's events go.
    pub(crate) fn sink(&self) -> EventSink {
        let output = self.clone();
        EventSink::new(move |event| output.event(event))
    }

    /// Takes an event; only `--json` with a reader that does not read makes it wait.
    pub(crate) fn event(&self, event: Event) {
        let progress = matches!(event, Event::FileProgress { .. });
        if progress && self.shared.queued.load(Ordering::Relaxed) > BUSY {
            return;
        }
        let message = Message::Event(SystemTime::now(), event);
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.shared.lossless && !progress {
            drop(self.sender.send(message));
        } else if let Err(TrySendError::Full(Message::Event(_, event))) =
            self.sender.try_send(message)
        {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            self.shared.miss(&event);
        }
    }

    /// A line for people, such as one of the log; left out when there are too many.
    pub(crate) fn line(&self, line: String) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Lines that the user asked for; left out when nothing can be printed at all.
    pub(crate) fn report(&self, text: String) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Report(text)).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The user pressed Ctrl-C, which terminals show.
    pub(crate) fn interrupted(&self) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Interrupted).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits until all so far is printed.
    pub(crate) fn sync(&self) {
        let (done, printed) = mpsc::sync_channel(1);
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.send(Message::Sync(done)).is_ok() {
            let _ = printed.recv();
        }
    }

    /// Prints the last lines and waits for that, but no longer than `patience`: a terminal may
    /// stand still, and whoever reads the events may have stopped. Whatever comes after the first
    /// call is not printed.
    pub(crate) fn end(&self, code: u8, reason: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut message = Message::End(code, reason.to_owned());
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = deadline.saturating_duration_since(Instant::now());
        drop(self.shared.end.wait_timeout_while(ended, patience, |ended| !*ended));
    }
}

impl OutputState {
    /// Done files are counted. The rest, failures and warnings, is in the log.
    fn miss(&self, event: &Event) {
        if let Event::FileDone { direction, size, .. } = event {
            let missed = &self.missed[usize::from(*direction == Direction::Receive)];
            missed.files.fetch_add(1, Ordering::Relaxed);
            missed.bytes.fetch_add(*size, Ordering::Relaxed);
        }
    }
}

/// What the printing thread has.
struct Printer {
    terminal: Terminal,
    json: Option<Json>,
    receiver: Receiver<Message>,
    shared: Arc<OutputState>,
}

impl Printer {
    fn run(mut self) {
        loop {
            let patience = self.terminal.due_in(Instant::now()).unwrap_or(IDLE);
            match self.receiver.recv_timeout(patience) {
                Ok(Message::End(code, reason)) => return self.end(code, &reason),
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.terminal.end(None),
            }
            // Whatever else waits is taken before anything is flushed, and no more than that.
            let mut burst = false;
            for _ in 0..BUSY {
                match self.receiver.try_recv() {
                    Ok(Message::End(code, reason)) => return self.end(code, &reason),
                    Ok(message) => self.take(message),
                    Err(_) => break,
                }
                burst = true;
            }
            if let Some(json) = &mut self.json {
                json.flush();
            }
            self.count_missed();
            self.terminal.draw(Instant::now());
            if burst {
                std::thread::sleep(BURST);
            }
        }
    }

    fn take(&mut self, message: Message) {
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        match message {
            Message::Event(time, event) => {
                if let Some(json) = &mut self.json {
                    json.event(time, &event);
                }
                self.terminal.event(&event, Instant::now());
            }
            Message::Line(line) => self.terminal.line(line),
            Message::Report(text) => self.terminal.report(text),
            Message::Interrupted => self.terminal.interrupted(),
            Message::Sync(done) => {
                self.terminal.print();
                let _ = done.send(());
            }
            Message::End(..) => {}
        }
    }

    fn count_missed(&mut self) {
        for (direction, missed) in
            [Direction::Send, Direction::Receive].into_iter().zip(&self.shared.missed)
        {
            let files = missed.files.swap(0, Ordering::Relaxed);
            if files > 0 {
                self.terminal.missed(direction, files, missed.bytes.swap(0, Ordering::Relaxed));
            }
        }
    }

    fn end(mut self, code: u8, reason: &str) {
        self.count_missed();
        self.terminal.end((code != 0).then_some(reason));
        if let Some(json) = &mut self.json {
            json.exit(SystemTime::now(), code, reason);
        }
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.end.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use terminal::Show;

    /// A reader that takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Valve>);

    #[derive(Default)]
    struct Valve {
        /// Whether it is open, and what went through.
        state: Mutex<(bool, Vec<u8>)>,
        opened: Condvar,
    }

    impl Write for Pipe {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let open = self.0.state.lock().unwrap();
            let mut open = self.0.opened.wait_while(open, |state| !state.0).unwrap();
            open.1.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn open(&self) {
            self.0.state.lock().unwrap().0 = true;
            self.0.opened.notify_all();
        }

        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.state.lock().unwrap().1.clone())
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect()
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn a_slow_reader_misses_progress_and_nothing_else() {
        let pipe = Pipe::default();
        let output =
            Output::start(Terminal::stderr(Show::Errors), Some(Json::new(pipe.clone()))).unwrap();
        for i in 0..2000 {
            output.event(sample::progress(Direction::Send, "big", i, 2000));
            output.event(sample::done(Direction::Send, &format!("f{i}"), 1));
        }
        pipe.open();
        output.end(0, "stopped", TIMEOUT);
        let lines = pipe.lines();
        let done = lines.iter().filter(|line| line.contains("file_done")).count();
        let progress = lines.iter().filter(|line| line.contains("file_progress")).count();
        assert_eq!(done, 2000);
        assert!(progress < 1000, "{progress}");
        assert!(lines.last().unwrap().contains(r#""event":"exit""#));
        output.event(sample::listening());
        assert_eq!(pipe.lines().len(), lines.len(), "nothing after the last line");
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let pipe = Pipe::default();
        let output =
            Output::start(Terminal::stderr(Show::Errors), Some(Json::new(pipe.clone()))).unwrap();
        let start = Instant::now();
        output.event(sample::listening());
        output.end(130, "stopped at once", Duration::from_millis(50));
        assert!(start.elapsed() < TIMEOUT);
        pipe.open();
    }
}
