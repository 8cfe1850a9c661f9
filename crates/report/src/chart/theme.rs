//! Colours and sizes of the static figures.

/// Background.
pub(crate) const PAPER: &str = "#ffffff";
/// Titles.
pub(crate) const INK: &str = "#1b1f27";
/// Axis labels, notes.
pub(crate) const SOFT: &str = "#5a6270";
/// Axis lines.
pub(crate) const AXIS: &str = "#8a92a0";
/// Grid lines.
pub(crate) const GRID: &str = "#e7e9ee";
/// Marks of runs that must not be trusted.
pub(crate) const ALARM: &str = "#b3261e";

/// Size of tick labels, in pixels.
pub(crate) const TICK_SIZE: f64 = 13.0;
/// Size of axis titles and direct labels.
pub(crate) const LABEL_SIZE: f64 = 14.0;
/// Size of panel titles.
pub(crate) const PANEL_TITLE_SIZE: f64 = 17.0;
/// Size of the figure's title.
pub(crate) const TITLE_SIZE: f64 = 25.0;

/// Eight colours that stay apart under all common forms of colour blindness and have enough
/// contrast on white for thin lines (after Okabe and Ito, darkened where they were pale).
pub(crate) const SERIES: [&str; 8] = [
    "#0072b2", "#d55e00", "#008f68", "#b1558d", "#a87400", "#3a9bd1", "#4d4d4d", "#7a5195",
];

/// The colour of series number `index`.
pub(crate) fn series(index: usize) -> &'static str {
    SERIES[index % SERIES.len()]
}

/// Anchors of the sequential scale: dark blue to pale yellow by way of grey-green, evenly rising in
/// lightness so that it reads in grey and for colour-blind eyes.
const RAMP: [(u8, u8, u8); 6] = [
    (15, 44, 92),
    (44, 76, 118),
    (92, 107, 120),
    (134, 137, 121),
    (183, 172, 104),
    (245, 220, 98),
];

/// A colour of the sequential scale for `shade` between 0 and 1, and whether text on it should be
/// white.
pub(crate) fn ramp(shade: f64) -> (String, bool) {
    let place = shade.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let low = (place.floor() as usize).min(RAMP.len() - 2);
    let part = place - low as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    let (a, b) = (RAMP[low], RAMP[low + 1]);
    let (red, green, blue) = (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2));
    let light = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue);
    (format!("#{red:02x}{green:02x}{blue:02x}"), light < 135.0)
}
