//! The asking side.

use super::error::ControlError;
use super::reply::{Answer, MAX_REPLY, Reply};
use super::request::Request;
use super::server::read_line;
use super::socket;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Maximum time for one request and its reply.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the process that serves a state folder.
#[derive(Debug)]
pub struct Client(BufReader<socket::Stream>);

impl Client {
    /// Connects. Needs the context of a tokio runtime.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`] if no process serves the folder, others if it cannot be
    /// reached.
    pub async fn connect(state: &Path) -> Result<Self, ControlError> {
        let connecting = timeout(TIMEOUT, socket::connect(state)).await;
        let stream = connecting.map_err(|_| ControlError::TimedOut(TIMEOUT))??;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`ControlError`]. The connection must not be used after that.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, ControlError> {
        let exchange = async {
            let line = request.to_line().map_err(std::io::Error::from)?;
            // A process with too many clients replies at once, and closes the connection.
            let written = self.0.write_all(&line).await;
            match read_line(&mut self.0, MAX_REPLY).await {
                Ok(Some(reply)) => Ok(Some(reply)),
                Ok(None) => written.map(|()| None),
                Err(error) => Err(written.err().unwrap_or(error)),
            }
        };
        let line = timeout(TIMEOUT, exchange).await.map_err(|_| ControlError::TimedOut(TIMEOUT))?;
        // A process that has ended closes its connections.
        let line = line.map_err(socket::not_running)?.ok_or(ControlError::NotRunning)?;
        let reply: Reply = serde_json::from_slice(&line).map_err(|error| {
            tracing::debug!(%error, "a reply of the control socket cannot be read");
            ControlError::Unreadable
        })?;
        reply.into_result().map_err(ControlError::Refused)
    }
}
