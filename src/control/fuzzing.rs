//! Body of the fuzz target for the requests of the control socket.

use super::reply::Reply;
use super::request::{MAX_REQUEST, Request};
use super::server::read_line;

/// Lines of a client: each is a request, which survives its own line, or is refused in one line
/// without control characters. No line is longer than the limit allows.
///
/// # Panics
/// If that does not hold.
pub fn requests(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut reader = data;
        while let Some(line) = read_line(&mut reader, MAX_REQUEST).await.unwrap() {
            assert!(line.len() <= MAX_REQUEST + 1);
            match Request::parse(&line) {
                Ok(request) => {
                    let again = request.to_line().unwrap();
                    assert_eq!(Request::parse(&again).unwrap(), request);
                }
                Err(refused) => {
                    let reply = Reply::new(Err(refused.clone())).to_line().unwrap();
                    let (end, text) = reply.split_last().unwrap();
                    assert!(*end == b'\n' && !text.iter().any(u8::is_ascii_control));
                    let read: Reply = serde_json::from_slice(text).unwrap();
                    assert_eq!(read.into_result().unwrap_err(), refused);
                }
            }
        }
    });
}
