//! SVG → PNG with the embedded font only, so that every machine draws the same picture.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use super::fonts;

/// Why an SVG could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The text is not valid SVG.
    #[error("invalid SVG: {0}")]
    Svg(String),
    /// The picture has no area or would not fit into memory.
    #[error("cannot draw a picture of {width}×{height} pixels")]
    Size {
        /// Requested width.
        width: u32,
        /// Requested height.
        height: u32,
    },
    /// The pixels could not be written as PNG.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(String),
}

/// Draws `svg` at `zoom` pixels per unit.
///
/// # Errors
///
/// An SVG that cannot be read, or a picture too large to be drawn.
pub fn to_png(svg: &str, zoom: f32) -> Result<Vec<u8>, PngError> {
    let options = Options {
        fontdb: font_database(),
        font_family: "Noto Sans SC".to_owned(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|error| PngError::Svg(error.to_string()))?;
    let size = tree.size();
    let width = (size.width() * zoom).ceil() as u32;
    let height = (size.height() * zoom).ceil() as u32;
    let mut pixmap = Pixmap::new(width, height).ok_or(PngError::Size { width, height })?;
    resvg::render(
        &tree,
        Transform::from_scale(zoom, zoom),
        &mut pixmap.as_mut(),
    );
    pixmap
        .encode_png()
        .map_err(|error| PngError::Encode(error.to_string()))
}

fn font_database() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    FONTS
        .get_or_init(|| {
            let mut database = Database::new();
            database.load_font_data(fonts::REGULAR.to_vec());
            database.load_font_data(fonts::SEMIBOLD.to_vec());
            database.set_sans_serif_family("Noto Sans SC");
            Arc::new(database)
        })
        .clone()
}
