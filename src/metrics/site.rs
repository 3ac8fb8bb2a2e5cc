//! The answers: what each path has, and the header fields that keep them from other sites.

use super::exposition::{self, Format};
use super::host::HostNames;
use super::page::PAGE;
use crate::daemon::Handle;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use std::time::SystemTime;

/// An answer to a client.
type HttpResponse = Response<Full<Bytes>>;

const PLAIN: &str = "text/plain; charset=utf-8";
/// A page of another site may not load an answer, not even as an image or a script.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The resources of this server.
#[derive(Debug)]
pub(super) struct Site {
    handle: Handle,
    names: HostNames,
    /// The start of the process, by its clock at that time.
    started: SystemTime,
}

impl Site {
    pub(super) fn new(handle: Handle, names: HostNames) -> Self {
        let now = handle.summary();
        let started = now.time.checked_sub(now.uptime).unwrap_or(now.time);
        Self { handle, names, started }
    }

    /// Answers a request, whose body is not read.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> HttpResponse {
        let mut answer = match self.content(request).await {
            Ok(content) => content,
            Err((status, reason)) => refusal(status, reason),
        };
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        for (name, value) in [
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (RESOURCE_POLICY, "same-origin"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn content<B>(
        &self,
        request: &Request<B>,
    ) -> Result<HttpResponse, (StatusCode, &'static str)> {
        self.check_host(request.uri(), request.headers())?;
        let path = request.uri().path();
        if !["/", "/metrics", "/status.json"].contains(&path) {
            return Err((StatusCode::NOT_FOUND, "rft has /, /metrics and /status.json here\n"));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "rft can only be read here\n"));
        }
        let failed = (StatusCode::INTERNAL_SERVER_ERROR, "rft cannot tell its state\n");
        match path {
            "/metrics" => self.metrics(request.headers()).await,
            "/status.json" => self.status().await,
            _ => Some(page()),
        }
        .ok_or(failed)
    }

    /// RFC 9110, section 7.2: a request names the host once. A target that has the name too is
    /// meant for a proxy.
    fn check_host(
        &self,
        target: &Uri,
        fields: &HeaderMap,
    ) -> Result<(), (StatusCode, &'static str)> {
        let mut hosts = fields.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err((StatusCode::BAD_REQUEST, "the request must name one host\n"));
        };
        let in_target = target.authority().map(|authority| authority.as_str());
        let is_allowed = |host: &str| self.names.allow(host);
        if host.to_str().is_ok_and(is_allowed) && in_target.is_none_or(is_allowed) {
            return Ok(());
        }
        let reason = "rft answers here only to an IP address or localhost; use the address\n";
        Err((StatusCode::FORBIDDEN, reason))
    }

    /// `None` after an internal error, as of [`Site::status`].
    async fn metrics(&self, fields: &HeaderMap) -> Option<HttpResponse> {
        let accepts = fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let format = Format::for_accept(&accepts.collect::<Vec<_>>().join(","));
        let status = self.handle.recent_status().await?;
        let text = exposition::encode(&status, self.started, format).ok()?;
        let mut answer = with_type(format.content_type(), text);
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        Some(answer)
    }

    async fn status(&self) -> Option<HttpResponse> {
        let status = self.handle.recent_status().await?;
        let mut json = serde_json::to_vec(&*status).ok()?;
        json.push(b'\n');
        Some(with_type("application/json", json))
    }
}

fn page() -> HttpResponse {
    let mut answer = with_type("text/html; charset=utf-8", PAGE.html.clone());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    answer
}

fn refusal(status: StatusCode, reason: &'static str) -> HttpResponse {
    let mut answer = with_type(PLAIN, reason);
    *answer.status_mut() = status;
    answer
}

fn with_type(kind: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::sample;
    use crate::status::Status;
    use http_body_util::BodyExt;
    use std::net::Ipv4Addr;

    /// A request with these header fields; the target may be absolute.
    fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn site(status: Status) -> Site {
        let names = HostNames::new(Ipv4Addr::LOCALHOST.into(), "alice");
        Site::new(Handle::of_ended(status), names)
    }

    async fn answer(method: &str, target: &str, fields: &[(&str, &str)]) -> HttpResponse {
        site(sample()).answer(&request(method, target, fields)).await
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:9100");

    async fn text(answer: HttpResponse) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    #[tokio::test]
    async fn each_path_has_its_content_and_no_other_has_any() {
        for (path, kind, content) in [
            ("/", "text/html; charset=utf-8", "<!DOCTYPE html>"),
            ("/?x=1", "text/html; charset=utf-8", "<!DOCTYPE html>"),
            ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# HELP rft_build_info"),
            ("/status.json", "application/json", "{\"time\":"),
        ] {
            let answer = answer("GET", path, &[HERE]).await;
            assert_eq!(
                (answer.status(), &answer.headers()[CONTENT_TYPE]),
                (StatusCode::OK, &kind.parse().unwrap())
            );
            assert!(text(answer).await.starts_with(content), "{path}");
        }
        for path in ["/metrics/", "//", "/../etc/passwd", "/favicon.ico", "/status"] {
            assert_eq!(
                answer("GET", path, &[HERE]).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn it_can_only_be_read() {
        assert_eq!(answer("HEAD", "/metrics", &[HERE]).await.status(), StatusCode::OK);
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "FLY"] {
            for path in ["/", "/metrics", "/status.json"] {
                let answer = answer(method, path, &[HERE]).await;
                assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
                assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
            }
        }
    }

    #[tokio::test]
    async fn a_request_under_another_name_is_refused() {
        let evil = ("host", "evil.example:9100");
        for (target, fields, status) in [
            ("/", &[("host", "localhost:9100")][..], StatusCode::OK),
            ("http://127.0.0.1:9100/", &[HERE], StatusCode::OK),
            ("/", &[evil], StatusCode::FORBIDDEN),
            ("/none", &[evil], StatusCode::FORBIDDEN),
            ("http://evil.example:9100/", &[HERE], StatusCode::FORBIDDEN),
            ("http://127.0.0.1:9100/", &[evil], StatusCode::FORBIDDEN),
            ("/", &[], StatusCode::BAD_REQUEST),
            ("/", &[HERE, HERE], StatusCode::BAD_REQUEST),
            ("/", &[HERE, evil], StatusCode::BAD_REQUEST),
        ] {
            let answer = answer("GET", target, fields).await;
            assert_eq!(answer.status(), status, "{target} {fields:?}");
        }
    }

    #[tokio::test]
    async fn no_answer_is_for_other_sites() {
        for path in ["/", "/metrics", "/status.json", "/none"] {
            let answer = answer("GET", path, &[HERE, ("origin", "https://evil.example")]).await;
            let fields = answer.headers();
            assert_eq!(fields[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(fields[RESOURCE_POLICY], "same-origin");
            assert_eq!(fields[CACHE_CONTROL], "no-store");
            assert!(!fields.contains_key("access-control-allow-origin"));
            assert_eq!(fields.contains_key(CONTENT_SECURITY_POLICY), path == "/");
        }
    }

    #[tokio::test]
    async fn the_state_is_that_of_rft_status() {
        let answer = answer("GET", "/status.json", &[HERE]).await;
        let expected = serde_json::to_string(&sample()).unwrap() + "\n";
        assert_eq!(text(answer).await, expected);
    }

    #[tokio::test]
    async fn scrapers_get_the_format_that_they_ask_for() {
        for (accept, open) in [
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", true),
            ("text/plain;version=0.0.4, application/openmetrics-text; version=0.0.1", true),
            ("text/html,*/*", false),
        ] {
            let answer = answer("GET", "/metrics", &[HERE, ("accept", accept)]).await;
            let kind = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
            assert_eq!(kind.starts_with("application/openmetrics-text; version=1.0.0"), open);
            assert_eq!(text(answer).await.ends_with("# EOF\n"), open);
        }
    }
}
