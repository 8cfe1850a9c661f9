//! The files of `visualize` by name.

use super::analysis::RatingScale;
use super::dashboard::dashboard;
use super::latency::latency_figure;
use super::report::{ReportFormat, performance_report};
use super::rows::Run;
use super::throughput::throughput_figure;
use crate::Lang;
use crate::chart::{Figure, PngError, to_png};

/// Pixels per unit of a figure: 2100 pixels of width, which prints at 300 dpi across a page.
const ZOOM: f32 = 1.5;

/// Which files to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `throughput_analysis.png` and `.svg`.
    pub throughput: bool,
    /// `latency_analysis.png` and `.svg`.
    pub latency: bool,
    /// `interactive_dashboard.html`.
    pub interactive: bool,
    /// `performance_report.txt` and `.md`.
    pub report: bool,
}

impl Wanted {
    /// All files.
    pub const ALL: Self = Self {
        throughput: true,
        latency: true,
        interactive: true,
        report: true,
    };
}

/// Name and content of each wanted file.
///
/// # Errors
///
/// A figure that cannot be drawn as PNG.
pub fn files(
    runs: &[Run],
    wanted: Wanted,
    scale: &RatingScale,
    lang: Lang,
) -> Result<Vec<(&'static str, Vec<u8>)>, PngError> {
    let mut out = Vec::new();
    let mut figure = |png: &'static str, svg: &'static str, figure: Figure| {
        let text = figure.to_svg();
        out.push((png, to_png(&text, ZOOM)?));
        out.push((svg, text.into_bytes()));
        Ok(())
    };
    if wanted.throughput {
        figure(
            "throughput_analysis.png",
            "throughput_analysis.svg",
            throughput_figure(runs, lang),
        )?;
    }
    if wanted.latency {
        figure(
            "latency_analysis.png",
            "latency_analysis.svg",
            latency_figure(runs, lang),
        )?;
    }
    if wanted.interactive {
        out.push((
            "interactive_dashboard.html",
            dashboard(runs, lang).into_bytes(),
        ));
    }
    if wanted.report {
        let report = |format| performance_report(runs, scale, lang, format).into_bytes();
        out.push(("performance_report.txt", report(ReportFormat::Text)));
        out.push(("performance_report.md", report(ReportFormat::Markdown)));
    }
    Ok(out)
}
