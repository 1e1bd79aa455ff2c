//! Bars, as an SVG file.

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
    let text = svg(title, unit, bars);
    let dir = OsDir::open(dir, true)?;
    match dir.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_all_at(&*dir.create_new(name)?, 0, text.as_bytes())
}

fn svg(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    const ROW: usize = 24;
    const LEFT: usize = 340;
    const WIDTH: f64 = 420.0;
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * bars.len() + 50;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"850\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"10\" y=\"24\" font-size=\"15\">{}</text>",
        escaped(title)
    );
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
        let text = svg("a < b", "%", &[("one".to_owned(), 50.0), ("two".to_owned(), 25.0)]);
        assert!(
            text.contains("a &lt; b") && text.contains("width=\"420.0\"") && text.contains("width=\"210.0\"")
        );
    }
}
