//! The first lines on a terminal.

use super::text::Palette;

/// The name, the version and the purpose, with a logo.
pub(crate) fn text(colours: bool) -> String {
    let palette = Palette { colours };
    let version = format!("Reactive File Transfer {}", env!("CARGO_PKG_VERSION"));
    let lines = [
        ("┌─┐┌─┐┌┬┐", palette.bold(&version)),
        ("├┬┘├┤  │ ", "two hosts, one command each, the same password;".to_owned()),
        ("┴└─└   ┴ ", "files dropped into Outgoing land in the other's Incoming".to_owned()),
    ];
    let lines = lines.map(|(logo, text)| format!("{}   {text}", palette.accent(logo)));
    format!("\n{}\n", lines.join("\n"))
}
