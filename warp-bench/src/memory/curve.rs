//! A curve over time as an SVG, which any browser shows.

use std::fmt::Write;

use super::budget::Sample;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 60.0;
const MIB: f64 = (1 << 20) as f64;

/// Draws anonymous resident memory against the budget; each phase begins with a line and its name.
pub(crate) fn svg(samples: &[Sample], budget: u64) -> String {
    let end = samples.last().map_or(1.0, |sample| sample.seconds).max(1e-9);
    let top = samples.iter().map(|sample| sample.anonymous).max().unwrap_or(0).max(budget) as f64 * 1.1;
    let x = |seconds: f64| MARGIN + seconds / end * (WIDTH - 2.0 * MARGIN);
    let y = |bytes: f64| HEIGHT - MARGIN - bytes / top * (HEIGHT - 2.0 * MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let (left, right, level) = (x(0.0), x(end), y(budget as f64));
    let _ = writeln!(
        text,
        "<line x1=\"{left:.1}\" y1=\"{level:.1}\" x2=\"{right:.1}\" y2=\"{level:.1}\" stroke=\"red\" \
         stroke-dasharray=\"6 4\"/>\n<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"red\">budget {:.0} MiB\
         </text>",
        level - 5.0,
        budget as f64 / MIB
    );
    let mut phase = None;
    for sample in samples.iter().filter(|sample| phase.replace(&sample.phase) != Some(&sample.phase)) {
        let at = x(sample.seconds);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{MARGIN}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"silver\"/>\n<text x=\"{:.1}\" \
             y=\"{:.1}\" transform=\"rotate(-60 {:.1} {:.1})\">{}</text>",
            HEIGHT - MARGIN,
            at + 3.0,
            MARGIN - 5.0,
            at + 3.0,
            MARGIN - 5.0,
            sample.phase
        );
    }
    let points: Vec<String> = samples
        .iter()
        .map(|sample| format!("{:.1},{:.1}", x(sample.seconds), y(sample.anonymous as f64)))
        .collect();
    let _ = writeln!(text, "<polyline points=\"{}\" fill=\"none\" stroke=\"navy\"/>", points.join(" "));
    let _ = writeln!(
        text,
        "<text x=\"{left:.1}\" y=\"{:.1}\">0 s</text>\n<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{end:.1} s</text>",
        HEIGHT - MARGIN + 16.0,
        HEIGHT - MARGIN + 16.0
    );
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_point_and_every_phase_has_its_name() {
        let sample = |seconds, anonymous, phase: &str| Sample { seconds, anonymous, phase: phase.to_owned() };
        let samples =
            [sample(0.0, 5 << 20, "load"), sample(1.0, 9 << 20, "load"), sample(2.0, 3 << 20, "scan")];
        let text = svg(&samples, 8 << 20);
        let points = text.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points.split(' ').count(), 3);
        assert_eq!((text.matches(">load<").count(), text.matches(">scan<").count()), (1, 1));
        assert!(text.contains("budget 8 MiB") && text.ends_with("</svg>\n"));
        assert!(svg(&[], 1).ends_with("</svg>\n"));
    }
}
