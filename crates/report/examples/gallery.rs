//! Writes every kind of report of a made-up campaign into a folder, to be looked at.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::error::Error;
use std::fs;
use std::path::Path;

use servebench_report::Lang;
use servebench_report::chart::to_png;
use servebench_report::visualize::{
    RatingScale, ReportFormat, dashboard, latency_figure, parse_rows, performance_report, throughput_figure,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder to write to")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    for lang in Lang::ALL {
        for (name, rows) in [("campaign", fixture::campaign()), ("rates", fixture::rates())] {
            let runs = parse_rows(&rows);
            for (kind, figure) in
                [("throughput", throughput_figure(&runs, lang)), ("latency", latency_figure(&runs, lang))]
            {
                let svg = figure.to_svg();
                fs::write(folder.join(format!("{name}-{kind}-{lang}.png")), to_png(&svg, 1.0)?)?;
                fs::write(folder.join(format!("{name}-{kind}-{lang}.svg")), svg)?;
            }
            fs::write(folder.join(format!("{name}-dashboard-{lang}.html")), dashboard(&runs, lang))?;
            for (ending, format) in [("txt", ReportFormat::Text), ("md", ReportFormat::Markdown)] {
                let text = performance_report(&runs, &RatingScale::default(), lang, format);
                fs::write(folder.join(format!("{name}-report-{lang}.{ending}")), text)?;
            }
        }
    }
    Ok(())
}
