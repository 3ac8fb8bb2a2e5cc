//! Chromium without a screen, and a server whose answers a test chooses.

use super::http;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// The longest run of a browser, in seconds of this machine.
const TIMEOUT: &str = "120";

/// Whether there is a browser. Prints a note if there is none; in CI that is an error.
pub fn is_there() -> bool {
    let found = Command::new("chromium").arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "chromium is missing");
    println!("SKIPPED: the page in a browser: chromium is missing");
    false
}

/// The document that a browser has made of this page after `seconds` of its own time, which passes
/// as fast as the answers come.
pub fn document(url: &str, seconds: u32) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output: Output = Command::new("timeout")
        .args([TIMEOUT, "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--window-size=1280,800")
        .arg(format!("--virtual-time-budget={}", seconds * 1000))
        .arg(url)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    // The policy of the page permits all that the page does.
    assert!(!log.contains("Content Security Policy"), "{log}");
    assert!(!log.contains("Uncaught"), "{log}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server with the page of a running peer, and with states that the test chooses: each answer has
/// the next one, and there is none after the last. Returns its URL; serves until the test ends.
pub fn serve(page_of: SocketAddr, states: Vec<String>, script: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let page = http::get(page_of, "/");
    let policy = page.head.lines().find(|line| line.starts_with("content-security-policy"));
    // A script that only the test has needs a page without the policy.
    let policy = policy.filter(|_| script.is_empty()).unwrap_or("x-policy: none").to_owned();
    let html = page.body.replace("</body>", &format!("{script}</body>"));
    let states = Arc::new(Mutex::new(states.into_iter()));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (policy, html, states) = (policy.clone(), html.clone(), states.clone());
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                if stream.read_line(&mut line).is_err() {
                    return;
                }
                let mut field = String::new();
                while stream.read_line(&mut field).is_ok_and(|read| read > 2) {
                    field.clear();
                }
                let (kind, body) = match line.split(' ').nth(1) {
                    Some("/") => ("text/html", html),
                    Some("/status.json") => match states.lock().unwrap().next() {
                        Some(state) => ("application/json", state),
                        // The connection ends without an answer.
                        None => return,
                    },
                    _ => return,
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{policy}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.get_mut().write_all((head + &body).as_bytes());
            });
        }
    });
    url
}
