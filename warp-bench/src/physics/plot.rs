//! Bars, and lines over windows of time, as SVG files.

use std::fmt::Write;
use std::io;
use std::path::Path;

use warp_io::{Dir, OsDir, write_all_at};

/// Draws labelled bars and writes them as `name` in a directory, which is made if it is not there.
///
/// # Errors
/// What the system answers.
pub(crate) fn bars(
    dir: &Path,
    name: &str,
    title: &str,
    unit: &str,
    bars: &[(String, f64)],
) -> io::Result<()> {
    write(dir, name, &svg_of_bars(title, unit, bars))
}

/// Draws a line for each name, over equal windows from left to right, with an axis from 0 to `most`; writes it likewise.
///
/// # Errors
/// What the system answers.
pub(crate) fn lines(
    dir: &Path,
    name: &str,
    title: &str,
    most: f64,
    lines: &[(String, Vec<f64>)],
) -> io::Result<()> {
    write(dir, name, &svg_of_lines(title, most, lines))
}

fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let dir = OsDir::open(dir, true)?;
    match dir.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_all_at(&*dir.create_new(name)?, 0, text.as_bytes())
}

fn svg_of_lines(title: &str, most: f64, lines: &[(String, Vec<f64>)]) -> String {
    const COLOURS: [&str; 6] = ["#47a", "#e67", "#283", "#cb4", "#a37", "#888"];
    const LEFT: f64 = 60.0;
    const TOP: f64 = 40.0;
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 300.0;
    const BOTTOM: f64 = TOP + HEIGHT;
    let mut text = begin(title, BOTTOM + 20.0);
    let _ = write!(
        text,
        "<text x=\"10\" y=\"{TOP}\">{most:.0}</text><text x=\"10\" y=\"{BOTTOM}\">0</text>\
         <path d=\"M{LEFT} {TOP}V{BOTTOM}H{}\" fill=\"none\" stroke=\"#000\"/>",
        LEFT + WIDTH
    );
    for (place, (label, values)) in lines.iter().enumerate() {
        let (colour, step) = (COLOURS[place % COLOURS.len()], WIDTH / values.len().max(2) as f64);
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(window, value)| {
                let (x, y) = (LEFT + (window as f64 + 0.5) * step, BOTTOM - value / most * HEIGHT);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = write!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            LEFT + WIDTH + 10.0,
            TOP + 20.0 * place as f64,
            escaped(label),
        );
    }
    text.push_str("</svg>\n");
    text
}

/// The head of a file, a white ground, and the title.
fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"850\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"10\" y=\"24\" font-size=\"15\">{}</text>",
        escaped(title)
    )
}

fn svg_of_bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    const ROW: usize = 24;
    const LEFT: usize = 340;
    const WIDTH: f64 = 420.0;
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut text = begin(title, (ROW * bars.len() + 50) as f64);
    for (place, (label, value)) in bars.iter().enumerate() {
        let (y, width) = (40 + place * ROW, value / most * WIDTH);
        let baseline = y + 14;
        let _ = write!(
            text,
            "<text x=\"10\" y=\"{baseline}\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"18\" fill=\"#47a\"/>\
             <text x=\"{:.1}\" y=\"{baseline}\">{value:.2} {unit}</text>",
            escaped(label),
            LEFT as f64 + width + 6.0,
        );
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let text = svg_of_bars("a < b", "%", &[("one".to_owned(), 50.0), ("two".to_owned(), 25.0)]);
        assert!(
            text.contains("a &lt; b") && text.contains("width=\"420.0\"") && text.contains("width=\"210.0\"")
        );
    }
    #[test]
    fn a_line_goes_through_its_values() {
        let text = svg_of_lines("a & b", 100.0, &[("one".to_owned(), vec![0.0, 50.0, 100.0, 25.0])]);
        assert!(text.contains("a &amp; b"), "{text}");
        assert!(text.contains("points=\"130.0,340.0 270.0,190.0 410.0,40.0 550.0,265.0\""), "{text}");
    }
}
