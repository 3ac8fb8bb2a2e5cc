//! `rft check`: a line for each step, and how to mend it.

mod sentence;

use super::args::CheckArgs;
use super::exit::{self, Failure};
use super::output::json::line_of;
use super::output::text::{self, Palette};
use console::Term;
use rft::check::{self, Found, LedgerState, Level, PortState, Subject};
use serde::Serialize;
use serde_json::{Map, Value};
use std::process::ExitCode;

/// One step, as `--json` prints it.
#[derive(Serialize)]
struct StepLine<'a> {
    step: &'static str,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(flatten)]
    values: Map<String, Value>,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct SummaryLine {
    step: &'static str,
    level: &'static str,
    pass: u32,
    warn: u32,
    fail: u32,
}

/// Checks, and prints each step when it is done. A reader may close the pipe before the end; the
/// exit code still tells the result.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let failed = |error: &dyn std::error::Error| {
        super::fail(&super::unknown("the check cannot be run", error))
    };
    let subject = match args.subject() {
        Ok(subject) => subject,
        Err(failure) => return super::fail(&failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let colours = Term::stdout().is_term() && console::colors_enabled();
    let mut printer = StepPrinter {
        json: args.json,
        palette: Palette { colours },
        counts: [0; 3],
        printed: Ok(()),
    };
    runtime.block_on(check::run(&subject, |found| printer.print(&found)));
    printer.end();
    if let Err(failure) = printer.printed {
        return super::fail(&failure);
    }
    ExitCode::from(if printer.counts[2] > 0 { exit::CHECK_FAILED } else { exit::DONE })
}

/// Runs the steps on this host for a peer that is to start, and returns a sentence for each that
/// fails.
///
/// # Errors
/// Exit code 1 if the system gives no runtime.
pub(super) fn failed_steps(subject: &Subject) -> Result<Vec<String>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| super::unknown("the checks cannot be run", &error))?;
    let mut failed = Vec::new();
    runtime.block_on(check::run(subject, |found| {
        if matches!(found, Found::State { ledger: LedgerState::InUse, .. }) {
            let state = subject.folders.state.display();
            failed.push(format!("an rft runs with {state} already: stop it first"));
        }
        // A peer can start with another port, and then nobody can dial it.
        let taken = matches!(found, Found::Port { state: PortState::Taken, .. });
        if taken || found.level() == Level::Fail {
            let said = sentence::of(&found);
            let fix = said.fix.map(|fix| format!(" (mend it: {fix})")).unwrap_or_default();
            failed.push(said.message + &fix);
        }
    }));
    Ok(failed)
}

struct StepPrinter {
    json: bool,
    palette: Palette,
    /// Steps that passed, warned and failed.
    counts: [u32; 3],
    /// The first line that could not be printed.
    printed: Result<(), Failure>,
}

impl StepPrinter {
    fn print(&mut self, found: &Found) {
        let level = found.level();
        self.counts[level as usize] += 1;
        let said = sentence::of(found);
        // A step that passed needs no remedy.
        let fix = said.fix.as_deref().filter(|_| level != Level::Pass);
        if self.json {
            let (step, message) = (found.step(), said.message.as_str());
            self.write_json(&StepLine {
                step,
                level: word(level),
                message,
                fix,
                values: said.values,
            });
            return;
        }
        let name = match level {
            Level::Pass => self.palette.good("pass"),
            Level::Warn => self.palette.warn("warn"),
            Level::Fail => self.palette.bad("fail"),
        };
        let mut line = format!("{name}  {}", said.message);
        if let Some(fix) = fix {
            line.push_str(&format!("; mend it: {}", self.palette.bold(fix)));
        }
        self.write(&text::for_terminal(&line, self.palette.colours));
    }

    fn end(&mut self) {
        let [pass, warn, fail] = self.counts;
        if self.json {
            let level = if fail > 0 {
                Level::Fail
            } else if warn > 0 {
                Level::Warn
            } else {
                Level::Pass
            };
            self.write_json(&SummaryLine { step: "summary", level: word(level), pass, warn, fail });
        } else {
            self.write(&format!("{pass} passed, {warn} with a warning, {fail} failed"));
        }
    }

    fn write_json(&mut self, value: &impl Serialize) {
        match line_of(value) {
            Ok(line) => self.write_all(&line),
            Err(error) => self.printed = super::not_printed(error),
        }
    }

    fn write(&mut self, line: &str) {
        self.write_all(format!("{line}\n").as_bytes());
    }

    fn write_all(&mut self, text: &[u8]) {
        if self.printed.is_ok() {
            self.printed = super::print(text);
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Pass => "pass",
        Level::Warn => "warn",
        Level::Fail => "fail",
    }
}
