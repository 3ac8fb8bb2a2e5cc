//! The few lines that a person at a terminal is greeted with.

use super::text::Palette;

/// Name, version, and what it does.
pub(crate) fn text(colours: bool) -> String {
    let palette = Palette { colours };
    let version = format!("Reactive File Transfer {}", env!("CARGO_PKG_VERSION"));
    let lines = [
        ("┌─┐┌─┐┌┬┐", palette.bold(&version)),
        ("├┬┘├┤  │ ", "two hosts, one command each, the same password;".to_owned()),
        ("┴└─└   ┴ ", "what one drops into Outgoing lands in the other's Incoming".to_owned()),
    ];
    let lines = lines.map(|(logo, text)| format!("{}   {text}", palette.accent(logo)));
    format!("\n{}\n", lines.join("\n"))
}
