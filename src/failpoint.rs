//! Fail points: places where a test kills the program, or lets a system call fail. Without the
//! feature `failpoints`, which only tests switch on, every function here is empty and nothing reads
//! the environment.
//!
//! `RFT_FAILPOINTS` holds rules, separated by `;`:
//!
//! ```text
//! NAME=ACTION[@FROM[..[TO]]]     publish.placed=kill@3    os.write=ENOSPC@10..20    os.sync_file=EIO@5..
//! ```
//!
//! A rule applies from the `FROM`th to the `TO`th pass of its place, counted from 1. `@FROM` alone
//! is one pass, `@/FILE` applies while that file exists, and a rule without `@` always applies.
//! Actions: `kill` (as SIGKILL), `panic` (as a bug in the task that passes the place), `sleepN` and
//! `spinN` (the thread rests, or uses a core, for N milliseconds), and the errors `EIO`, `ENOSPC`, `EDQUOT`, `EROFS`, `EACCES`, `ENOENT`.

/// Passes a place where a test may kill the program.
#[inline]
pub fn fail_point(name: &'static str) {
    #[cfg(feature = "failpoints")]
    active::pass(name, false);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// Passes a place before a system call, which a test may let fail.
///
/// # Errors
/// The error of the rule for this place.
#[inline]
pub fn io(name: &'static str) -> std::io::Result<()> {
    #[cfg(feature = "failpoints")]
    return active::pass(name, true).map_or(Ok(()), Err);
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
pub use active::{last, passed, set};

#[cfg(feature = "failpoints")]
mod active {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::io;
    use std::ops::RangeInclusive;
    use std::path::PathBuf;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
    use std::time::{Duration, Instant};

    #[derive(Clone, Copy)]
    enum Action {
        Kill,
        Panic,
        Sleep(Duration),
        Spin(Duration),
        Fail(Errno),
    }

    /// A system error: its number on Unix, its kind elsewhere.
    #[derive(Clone, Copy)]
    struct Errno(i32, io::ErrorKind);

    struct Rule {
        action: Action,
        when: When,
    }

    #[derive(Debug, PartialEq)]
    enum When {
        Times(RangeInclusive<u64>),
        Exists(PathBuf),
    }

    impl When {
        fn holds(&self, time: u64) -> bool {
            match self {
                Self::Times(times) => times.contains(&time),
                Self::Exists(path) => path.exists(),
            }
        }
    }

    #[derive(Default)]
    struct Points {
        rules: HashMap<String, Vec<Rule>>,
        passed: HashMap<&'static str, u64>,
    }

    fn points() -> MutexGuard<'static, Points> {
        static POINTS: OnceLock<Mutex<Points>> = OnceLock::new();
        let points = POINTS.get_or_init(|| {
            let spec = std::env::var("RFT_FAILPOINTS").unwrap_or_default();
            Mutex::new(Points { rules: parse(&spec), passed: HashMap::new() })
        });
        points.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all rules, and counts from 1 again. For tests in one process.
    pub fn set(spec: &str) {
        *points() = Points { rules: parse(spec), passed: HashMap::new() };
    }

    /// The number of passes of a place.
    pub fn passed(name: &str) -> u64 {
        points().passed.get(name).copied().unwrap_or(0)
    }

    thread_local! {
        static LAST: Cell<&'static str> = const { Cell::new("") };
    }

    /// The last place that this thread passed, except those before system calls.
    pub fn last() -> &'static str {
        LAST.get()
    }

    #[allow(clippy::panic)] // by the test's rule
    pub(super) fn pass(name: &'static str, may_fail: bool) -> Option<io::Error> {
        if !may_fail {
            LAST.set(name);
        }
        let action = {
            let mut points = points();
            let passed = points.passed.entry(name).or_default();
            *passed += 1;
            let time = *passed;
            points
                .rules
                .get(name)?
                .iter()
                .find(|rule| rule.when.holds(time))
                .map(|rule| rule.action)?
        };
        match action {
            Action::Kill => die(),
            Action::Panic => panic!("failpoint {name}"),
            Action::Sleep(time) => {
                std::thread::sleep(time);
                None
            }
            Action::Spin(time) => {
                let begun = Instant::now();
                while begun.elapsed() < time {
                    std::hint::spin_loop();
                }
                None
            }
            Action::Fail(Errno(_number, _kind)) if may_fail => {
                #[cfg(unix)]
                return Some(io::Error::from_raw_os_error(_number));
                #[cfg(not(unix))]
                return Some(_kind.into());
            }
            Action::Fail(_) => None,
        }
    }

    fn die() -> ! {
        // Not abort(): it may write a core file, which takes time.
        #[cfg(unix)]
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort()
    }

    /// An invalid rule ends the test.
    #[allow(clippy::panic)]
    fn parse(spec: &str) -> HashMap<String, Vec<Rule>> {
        let mut rules: HashMap<String, Vec<Rule>> = HashMap::new();
        for text in spec.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let Some((name, rule)) = parse_rule(text) else {
                panic!("no failpoint rule: {text:?}")
            };
            rules.entry(name).or_default().push(rule);
        }
        rules
    }

    fn parse_rule(text: &str) -> Option<(String, Rule)> {
        let (name, rest) = text.split_once('=')?;
        let (action, when) = match rest.split_once('@') {
            None => (rest, When::Times(1..=u64::MAX)),
            Some((action, path)) if path.starts_with('/') => (action, When::Exists(path.into())),
            Some((action, times)) => {
                let times = match times.split_once("..") {
                    None => times.parse().ok().map(|time| time..=time)?,
                    Some((from, "")) => from.parse().ok()?..=u64::MAX,
                    Some((from, to)) => from.parse().ok()?..=to.parse().ok()?,
                };
                (action, When::Times(times))
            }
        };
        let action = match action {
            "kill" => Action::Kill,
            "panic" => Action::Panic,
            "EIO" => Action::Fail(Errno(5, io::ErrorKind::Other)),
            "ENOSPC" => Action::Fail(Errno(28, io::ErrorKind::StorageFull)),
            "EDQUOT" => Action::Fail(Errno(122, io::ErrorKind::QuotaExceeded)),
            "EROFS" => Action::Fail(Errno(30, io::ErrorKind::ReadOnlyFilesystem)),
            "EACCES" => Action::Fail(Errno(13, io::ErrorKind::PermissionDenied)),
            "ENOENT" => Action::Fail(Errno(2, io::ErrorKind::NotFound)),
            text => {
                let millis = |digits: &str| digits.parse().ok().map(Duration::from_millis);
                if let Some(digits) = text.strip_prefix("sleep") {
                    Action::Sleep(millis(digits)?)
                } else {
                    Action::Spin(millis(text.strip_prefix("spin")?)?)
                }
            }
        };
        Some((name.to_owned(), Rule { action, when }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rules_hold_when_they_say() {
            let of = |text| parse_rule(text).map(|(name, rule)| (name, rule.when)).unwrap();
            assert_eq!(of("a=EIO"), ("a".into(), When::Times(1..=u64::MAX)));
            assert_eq!(of("a.b=kill@3"), ("a.b".into(), When::Times(3..=3)));
            assert_eq!(of("a=ENOSPC@2..5"), ("a".into(), When::Times(2..=5)));
            assert_eq!(of("a=ENOSPC@2.."), ("a".into(), When::Times(2..=u64::MAX)));
            assert_eq!(of("a=sleep50"), ("a".into(), When::Times(1..=u64::MAX)));
            assert_eq!(of("a=EIO@/x/y"), ("a".into(), When::Exists("/x/y".into())));
            assert!(
                ["a", "a=", "a=EIO@", "a=EIO@x", "a=nothing", "a=sleep", "a=spinx"]
                    .iter()
                    .all(|text| parse_rule(text).is_none())
            );
        }

        #[test]
        fn a_place_fails_in_its_turn() {
            set("test.place=EIO@2..3");
            let failed: Vec<bool> =
                (0..4).map(|_| crate::failpoint::io("test.place").is_err()).collect();
            assert_eq!(failed, [false, true, true, false]);
            assert_eq!(passed("test.place"), 4);
            crate::failpoint::fail_point("test.other");
        }
    }
}
