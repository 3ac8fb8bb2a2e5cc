//! Output: one thread prints the events that the engine's threads put into its queue.

pub(crate) mod area;
pub(crate) mod banner;
pub(crate) mod bottleneck;
pub(crate) mod clock;
mod failures;
pub(crate) mod hindrance;
pub(crate) mod json;
mod limit;
pub(crate) mod lines;
mod progress;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod state;
#[cfg(any(target_os = "linux", test))]
pub(crate) mod summary;
pub(crate) mod terminal;
pub(crate) mod text;

use json::Json;
use rft::event::{Direction, Event};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use terminal::Terminal;

/// Capacity of the queue, in messages.
const QUEUE_CAPACITY: usize = 8192;
/// With more messages in the queue, progress events are dropped.
const MAX_QUEUED_PROGRESS: usize = 256;
/// In a burst, the messages of this time are printed together. Waking the printing thread for each
/// event of ten thousand small files costs as much as sealing the files.
const BURST_INTERVAL: Duration = Duration::from_millis(3);
/// A reader that takes nothing for this long has stopped: the end does not wait for it any longer.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// How long the printing thread sleeps when nothing is due.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// The sending end of the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    sender: SyncSender<Message>,
    shared: Arc<OutputState>,
}

struct OutputState {
    queued: AtomicUsize,
    /// Messages that the printing thread has taken from the queue.
    taken: AtomicUsize,
    /// `--json` drops only progress events: when the queue is full the engine waits for the reader,
    /// as with a pipe. The engine never waits for a terminal; finished files that a full queue
    /// dropped are counted.
    lossless: bool,
    /// By direction: sent and received.
    dropped: [Dropped; 2],
    ended: Mutex<bool>,
    end: Condvar,
}

/// Finished files whose events were dropped.
#[derive(Default)]
struct Dropped {
    files: AtomicU64,
    bytes: AtomicU64,
}

enum Message {
    Event(SystemTime, Event),
    Line(String),
    /// Lines that the user requested: they are printed even with `--quiet`.
    Report(String),
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Answered when all messages before it are printed.
    Sync(SyncSender<()>),
    End(u8, String),
}

impl Output {
    /// Starts the printing thread.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub(crate) fn start(terminal: Terminal, json: Option<Json>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE_CAPACITY);
        let shared = Arc::new(OutputState {
            queued: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            lossless: json.is_some(),
            dropped: Default::default(),
            ended: Mutex::new(false),
            end: Condvar::new(),
        });
        let printer = Printer { terminal, json, receiver, shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("rft-output".into()).spawn(move || printer.run())?;
        Ok(Self { sender, shared })
    }

    /// Queues an event. Waits only with `--json`, while its reader does not read.
    pub(crate) fn event(&self, event: Event) {
        let progress = matches!(event, Event::FileProgress { .. });
        if progress && self.shared.queued.load(Ordering::Relaxed) > MAX_QUEUED_PROGRESS {
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
            self.shared.count_dropped(&event);
        }
    }

    /// Queues a line for people, such as one of the log; dropped if the queue is full.
    pub(crate) fn line(&self, line: String) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Queues lines that the user requested; dropped if the queue is full.
    pub(crate) fn report(&self, text: String) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Report(text)).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The user pressed Ctrl-C, which the terminal has echoed as `^C`.
    pub(crate) fn interrupted(&self) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Message::Interrupted).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is printed.
    pub(crate) fn sync(&self) {
        let (done, printed) = mpsc::sync_channel(1);
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if self.sender.send(Message::Sync(done)).is_ok() {
            let _ = printed.recv();
        }
    }

    /// Prints the last lines and waits until they are out, but no longer than `timeout`, and no
    /// longer than [`STALLED_AFTER`] for a terminal or a reader of the events that takes nothing.
    /// Messages after the first call are not printed.
    pub(crate) fn end(&self, code: u8, reason: &str, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut progress = (self.shared.taken.load(Ordering::Relaxed), Instant::now());
        let mut is_over = move |taken: usize| {
            let now = Instant::now();
            if taken != progress.0 {
                progress = (taken, now);
            }
            now >= deadline || now - progress.1 >= STALLED_AFTER
        };
        let mut message = Message::End(code, reason.to_owned());
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if is_over(self.shared.taken.load(Ordering::Relaxed)) {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended && !is_over(self.shared.taken.load(Ordering::Relaxed)) {
            let wait = Duration::from_millis(50).min(timeout);
            (ended, _) =
                self.shared.end.wait_timeout(ended, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl OutputState {
    /// Counts a finished file. Failures and warnings are in the log.
    fn count_dropped(&self, event: &Event) {
        if let Event::FileDone { direction, size, .. } = event {
            let dropped = &self.dropped[usize::from(*direction == Direction::Receive)];
            dropped.files.fetch_add(1, Ordering::Relaxed);
            dropped.bytes.fetch_add(*size, Ordering::Relaxed);
        }
    }
}

/// The state of the printing thread.
struct Printer {
    terminal: Terminal,
    json: Option<Json>,
    receiver: Receiver<Message>,
    shared: Arc<OutputState>,
}

impl Printer {
    fn run(mut self) {
        loop {
            let timeout = self.terminal.due_in(Instant::now()).unwrap_or(IDLE_TIMEOUT);
            match self.receiver.recv_timeout(timeout) {
                Ok(Message::End(code, reason)) => return self.end(code, &reason),
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.terminal.end(None),
            }
            // Takes further waiting messages before it flushes, up to a limit.
            let mut burst = false;
            for _ in 0..MAX_QUEUED_PROGRESS {
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
            self.show_dropped();
            self.terminal.draw(Instant::now());
            if burst {
                std::thread::sleep(BURST_INTERVAL);
            }
        }
    }

    fn take(&mut self, message: Message) {
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
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

    fn show_dropped(&mut self) {
        for (direction, dropped) in
            [Direction::Send, Direction::Receive].into_iter().zip(&self.shared.dropped)
        {
            let files = dropped.files.swap(0, Ordering::Relaxed);
            if files > 0 {
                let bytes = dropped.bytes.swap(0, Ordering::Relaxed);
                self.terminal.count_dropped(direction, files, bytes);
            }
        }
    }

    fn end(mut self, code: u8, reason: &str) {
        self.show_dropped();
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

    /// A pipe that blocks its writer until it is opened.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Valve>);

    #[derive(Default)]
    struct Valve {
        /// Whether it is open, and the bytes written to it.
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

    fn start(pipe: &Pipe) -> Output {
        let terminal = Terminal::stderr(Show::Errors, Box::new(|| None));
        Output::start(terminal, Some(Json::new(pipe.clone()))).unwrap()
    }

    #[test]
    fn a_slow_reader_misses_only_progress_events() {
        let pipe = Pipe::default();
        let output = start(&pipe);
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
        assert_eq!(pipe.lines().len(), lines.len(), "no line after the last one");
    }

    #[test]
    fn the_end_waits_no_longer_than_its_timeout() {
        let pipe = Pipe::default();
        let output = start(&pipe);
        let start = Instant::now();
        output.event(sample::listening());
        output.end(130, "stopped at once", Duration::from_millis(50));
        assert!(start.elapsed() < TIMEOUT);
        pipe.open();
    }

    #[test]
    fn the_end_waits_for_a_slow_reader_but_not_for_a_stalled_one() {
        for slow in [true, false] {
            let pipe = Pipe::default();
            let output = start(&pipe);
            for _ in 0..QUEUE_CAPACITY {
                output.event(sample::listening());
            }
            let start = Instant::now();
            if slow {
                std::thread::spawn(move || {
                    std::thread::sleep(STALLED_AFTER / 2);
                    pipe.open();
                });
            }
            output.end(0, "stopped", 4 * TIMEOUT);
            let printed = *output.shared.ended.lock().unwrap();
            assert_eq!(printed, slow, "after {:?}", start.elapsed());
            assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
        }
    }
}
