//! Draws terminal output as an SVG picture. The README's picture is made like this:
//!
//! ```text
//! CLICOLOR_FORCE=1 rft demo | cargo run --example picture > docs/demo.svg
//! ```

// This program's output is its purpose.
#![allow(clippy::print_stdout)]

use std::io;

/// Width and height of a character cell, and the border of the picture, in SVG units.
const CELL: (f64, f64) = (8.4, 19.0);
const BORDER: f64 = 16.0;
/// Narrowest picture, in columns.
const MIN_COLUMNS: usize = 60;

fn main() -> io::Result<()> {
    let lines: Vec<String> = io::stdin().lines().collect::<Result<_, _>>()?;
    print!("{}", picture(&lines));
    Ok(())
}

/// The lines in a monospace font on a dark ground, with the styles of `rft`'s output.
fn picture(lines: &[String]) -> String {
    let widest = lines.iter().map(|line| console::measure_text_width(line)).max().unwrap_or(0);
    let width = widest.max(MIN_COLUMNS) as f64 * CELL.0 + 2.0 * BORDER;
    let height = lines.len() as f64 * CELL.1 + 2.0 * BORDER;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" \
         font-size=\"14\" fill=\"#d8dee9\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1b1f27\"/>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let baseline = BORDER + (row as f64 + 0.75) * CELL.1;
        svg.push_str(&format!("<text x=\"{BORDER}\" y=\"{baseline:.1}\" xml:space=\"preserve\">"));
        svg.push_str(&spans(line));
        svg.push_str("</text>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// One line: the text after `ESC [ numbers m` becomes a span with those attributes.
fn spans(line: &str) -> String {
    let mut out = String::new();
    let mut style = String::new();
    let mut pieces = line.split("\u{1b}[");
    push_span(&mut out, &style, pieces.next().unwrap_or_default());
    for piece in pieces {
        let (codes, text) = piece.split_once('m').unwrap_or(("0", piece));
        for code in codes.split(';') {
            match attributes(code) {
                "" => style.clear(),
                attribute => style.push_str(attribute),
            }
        }
        push_span(&mut out, &style, text);
    }
    out
}

fn push_span(out: &mut String, style: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    match style {
        "" => out.push_str(&text),
        style => out.push_str(&format!("<tspan{style}>{text}</tspan>")),
    }
}

/// The attribute of an SGR code (ECMA-48 section 8.3.117); empty for a reset.
fn attributes(code: &str) -> &'static str {
    match code {
        "1" => " font-weight=\"bold\"",
        "2" => " opacity=\"0.6\"",
        "31" => " fill=\"#ff6b6b\"",
        "32" => " fill=\"#8fd18f\"",
        "33" => " fill=\"#e5c07b\"",
        "36" => " fill=\"#6cc7d8\"",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_become_spans_and_markup_is_escaped() {
        let line = "a <b> \u{1b}[31m\u{1b}[1mbad\u{1b}[0m&\u{1b}[2md\u{1b}[0m";
        assert_eq!(
            spans(line),
            "a &lt;b&gt; <tspan fill=\"#ff6b6b\" font-weight=\"bold\">bad</tspan>&amp;<tspan opacity=\"0.6\">d</tspan>"
        );
    }

    #[test]
    fn every_line_is_there() {
        let svg = picture(&["one".to_owned(), String::new(), "three".to_owned()]);
        assert_eq!(svg.matches("<text ").count(), 3);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
