//! The page for people: one document, with its style and its script in it.

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page, and the policy that a browser enforces on it.
pub(super) static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

pub(super) struct Page {
    pub(super) html: Bytes,
    /// Content Security Policy Level 3: nothing but this style and this script, and no connection
    /// but to this server. A text that passed for a script would not run.
    pub(super) policy: HeaderValue,
}

impl Page {
    fn new() -> Self {
        let html = FRAME.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source(STYLE),
            source(SCRIPT)
        );
        let nothing = HeaderValue::from_static("default-src 'none'");
        Self { html: html.into(), policy: HeaderValue::try_from(policy).unwrap_or(nothing) }
    }
}

/// The hash of a text, as a policy names it.
fn source(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_outside_assets_and_never_parses_text_as_html() {
        let html = std::str::from_utf8(&PAGE.html).unwrap();
        assert!(html.contains(STYLE) && html.contains(SCRIPT));
        // A style or a script that ended its own element would not have the hash of the policy.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
        for outside in ["http:", "https:", "url(", "@import", "src=", "//cdn"] {
            assert!(!html.contains(outside), "{outside}");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
        let policy = PAGE.policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_knows_every_hindrance() {
        use crate::hindrance::Hindrance;
        let hindrances = [
            Hindrance::NameUnknown,
            Hindrance::NoZone,
            Hindrance::NoRoute,
            Hindrance::HostUnreachable,
            Hindrance::Prohibited,
            Hindrance::PortClosed,
            Hindrance::PathTooSmall { mtu: None },
            Hindrance::NoAnswer,
            Hindrance::OtherVersion,
            Hindrance::NoHandshake,
            Hindrance::WrongPassword,
            Hindrance::Occupied,
        ];
        for hindrance in hindrances {
            assert!(SCRIPT.contains(&format!("  {}: \"", hindrance.word())), "{hindrance:?}");
        }
    }
}
