//! Images in memory: decoding JPEG and PNG to pixels.
//!
//! The two decoders are used directly: the crate `image` around them compiles its own management of colours and formats
//! that no dataset has, which cost 50 of 570 CPU seconds of a release build.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels of an image that is decoded. Pillow refuses images of more than twice 89,478,485 pixels
/// (`MAX_IMAGE_PIXELS`), since small files can hold them.
const MAX_PIXELS: usize = 2 * 89_478_485;

/// Pixels in rows, three bytes each: red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// An image of `rgb`, whose length must be three times the number of pixels.
    pub(crate) fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let bytes = (width as usize)
            .checked_mul(height as usize)?
            .checked_mul(3)?;
        (rgb.len() == bytes).then_some(Self { width, height, rgb })
    }

    /// The pixels of a JPEG or PNG file. Grey becomes colour, transparency is dropped, and of samples of 16 bits the
    /// upper eight are kept, as Pillow's `convert("RGB")` does.
    ///
    /// # Errors
    ///
    /// The file is of another format or damaged, or has more than 178,956,970 pixels.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => decode_jpeg(bytes),
            [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
            _ => Err("only JPEG and PNG images can be encoded again".to_owned()),
        }
    }

    pub(crate) const fn width(&self) -> u32 {
        self.width
    }

    pub(crate) const fn height(&self) -> u32 {
        self.height
    }

    /// The rows, top first.
    pub(crate) fn as_rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// An image of samples with `channels` per pixel: grey, grey with alpha, colour, or colour with alpha.
    fn of_channels(
        width: usize,
        height: usize,
        channels: usize,
        samples: Vec<u8>,
    ) -> Result<Self, String> {
        let rgb = match channels {
            1 | 2 => samples
                .chunks_exact(channels)
                .flat_map(|pixel| [pixel[0]; 3])
                .collect(),
            4 => samples
                .chunks_exact(4)
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect(),
            _ => samples,
        };
        Self::new(width as u32, height as u32, rgb)
            .ok_or_else(|| "the decoder's samples do not fill the image".to_owned())
    }
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(format!(
            "{width} by {height} pixels are more than {MAX_PIXELS}"
        ));
    }
    Ok(())
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let words = |error: zune_jpeg::errors::DecodeErrors| error.to_string();
    // Largest width and height of the format.
    let options = DecoderOptions::default()
        .set_max_width(65_535)
        .set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(words)?;
    let info = decoder.info().ok_or("the image has no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let space = if is_grey {
        ColorSpace::Luma
    } else {
        ColorSpace::RGB
    };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let samples = decoder.decode().map_err(words)?;
    Picture::of_channels(width, height, if is_grey { 1 } else { 3 }, samples)
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let words = |error: png::DecodingError| error.to_string();
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(words)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let size = reader
        .output_buffer_size()
        .ok_or("the image is too large")?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(words)?;
    samples.truncate(frame.buffer_size());
    Picture::of_channels(width, height, frame.color_type.samples(), samples)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    /// PNG files of Pillow 13.0, and SHA-256 of the bytes of `Image.open(file).convert("RGB")`.
    const PNG: [(&str, &str, &str); 7] = [
        (
            "rgb",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALCAIAAAAr0JA2AAAAF0lEQVR4nGNk0IhiJwKwcHJyjqobPOoAKGUMjjF+XxgAAAAA\
             SUVORK5CYII=",
            "ed584cf6badc4328c73ae80272ff2ff33bc2dd4d481a50c429a4ec9250acd0a0",
        ),
        (
            "grey",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALCAAAAACB2Vi9AAAAE0lEQVR4nGNUYkcCLJyDhfeKHQBSOQUlAPVjcwAAAABJRU5E\
             rkJggg==",
            "4586bc2c6b56aab49765b03410c1c798e065e9f05554950753f209f16a10f160",
        ),
        (
            "grey_alpha",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALCAQAAAAOu8/qAAAAGUlEQVR4nGNUamBnwA5ZOHFIjDipVwzsDAAiGgWlBA77FwAA\
             AABJRU5ErkJggg==",
            "4586bc2c6b56aab49765b03410c1c798e065e9f05554950753f209f16a10f160",
        ),
        (
            "rgba",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALCAYAAACksgdhAAAAHUlEQVR4nGNk0IhiYGdnZyQFs3BycvKOahrVBMcA9acNlGW8\
             A3YAAAAASUVORK5CYII=",
            "ed584cf6badc4328c73ae80272ff2ff33bc2dd4d481a50c429a4ec9250acd0a0",
        ),
        (
            "palette",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALBAMAAABWnBpSAAAAMFBMVEWZwfORubJ/p9l2ntBtlcdmjsBfh7lZgbNTe61MdKZF\
             bZ8+Zpg2XpAsVIYgSHoONmgg0FK2AAAABHRSTlP///8AQCqp9AAAAEJJREFUeJwlxbEVgDAMQ0FFj579J6NzMoG/JsAUXHNr\
             RFOPNRM4HuiqOAGIB+gd01WbGAD0r2O6dkquDa90ATrr/gBRsj4KIOpt1AAAAABJRU5ErkJggg==",
            "7038405029929c039cc117ec7a9f1d83cd20f20074c355ca9d271eacf6868fc8",
        ),
        (
            "bilevel",
            "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALAQAAAACMyTrMAAAAKUlEQVR4nGNkVGfQWsDIEsLkF8B0g4FJgYPpgQbjqn+MocpM\
             jBGMq3kBbB0HMWrHjxoAAAAASUVORK5CYII=",
            "d470b29512b14c646a539bdfcc74938efb265960bb180f6635b9eb0c4dc91375",
        ),
        (
            "rgb16",
            "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAEEAIAAACZwb5UAAAAh0lEQVR4nAF8AIP/ABdqBpgs+eaDu7hjyJkAYxUr/UqTdsqr\
             a1v5xqneigCblfR3/abp4PaU96z6XQWnGY5N+A4a8VGF2gqWY0IAyQIfv608MoEPswNaXkUbaBJudmEZnaZqfJi5+5M+ACoH\
             e/gsqx4hWXu1T1Cw1yUcFDte6jEVlYF/1s799N1hOwVql8G5AAAAAElFTkSuQmCC",
            "c781f7f46f6a262d0d4d9baf3c2440d9c5a8f560127548dc769807a4bb38ad33",
        ),
    ];

    /// JPEG files of Pillow 13.0 with squares of 8 pixels in one colour each, and the colours that Pillow reads at
    /// (4, 4), (28, 4), (12, 12) and (20, 20).
    const JPEG: [(&str, &str, [[u8; 3]; 4]); 4] = [
        (
            "colour",
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ\
         ERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU\
         FBQUFBQUFBQUFBQUFBT/wAARCAAYACADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAA\
         AgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6\
         Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXG\
         x8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREA\
         AgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5\
         OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPE\
         xcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwD4Er0utWvS6/VT8/MqvSq1q9KoA+f69Loo\
         oA9Lr0qiigD/2Q==",
            [[0, 40, 91], [84, 124, 175], [64, 104, 155], [128, 168, 219]],
        ),
        (
            "progressive",
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ\
         ERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU\
         FBQUFBQUFBQUFBQUFBT/wgARCAAYACADASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAABgAEB//EABUBAQEAAAAAAAAA\
         AAAAAAAAAAAG/9oADAMBAAIQAxAAAAHgKbUmqp/Il1pTn6ahKlo//8QAFBABAAAAAAAAAAAAAAAAAAAAMP/aAAgBAQABBQJP\
         /8QAFBEBAAAAAAAAAAAAAAAAAAAAIP/aAAgBAwEBPwEf/8QAFBEBAAAAAAAAAAAAAAAAAAAAIP/aAAgBAgEBPwEf/8QAFBAB\
         AAAAAAAAAAAAAAAAAAAAMP/aAAgBAQAGPwJP/8QAFBABAAAAAAAAAAAAAAAAAAAAMP/aAAgBAQABPyFP/9oADAMBAAIAAwAA\
         ABCr6L7/xAAUEQEAAAAAAAAAAAAAAAAAAAAg/9oACAEDAQE/EB//xAAUEQEAAAAAAAAAAAAAAAAAAAAg/9oACAECAQE/EB//\
         xAAUEAEAAAAAAAAAAAAAAAAAAAAw/9oACAEBAAE/EE//2Q==",
            [[0, 40, 91], [84, 124, 175], [64, 104, 155], [128, 168, 219]],
        ),
        (
            "grey",
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ\
         ERMUFRUVDA8XGBYUGBIUFRT/wAALCAAYACABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgED\
         AwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RF\
         RkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJ\
         ytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/APgSvS69Lr0qvn+vS69Lr0qvn+vS69Lr0qv/2Q==",
            [[34, 34, 34], [118, 118, 118], [98, 98, 98], [162, 162, 162]],
        ),
        (
            "cmyk",
            "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBET\
         FBUVFQwPFxgWFBgSFBUU/8AAFAgAGAAgBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//E\
         ALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2\
         Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrC\
         w8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD8qq+FK8ar9U69Kr0uvSqK9Lr0\
         uvS6K9Lr0qvS6K+f6+f6+f6K9Kr0uvSqK9Lr0uvS6K9Lr0qvS6K+f6+f6+f6K9Kr0uvSqK9Lr0uvS6K9Lr0qvS6K/9k=",
            [[0, 40, 90], [84, 124, 174], [64, 104, 154], [128, 168, 218]],
        ),
    ];

    fn decoded(base64: &str) -> Picture {
        Picture::decode(&BASE64_STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn pixels_of_png_files_are_those_of_pillow() {
        for (name, file, hash) in PNG {
            let picture = decoded(file);
            let found = inferometer_core::hex(&Sha256::digest(picture.as_rgb()));
            assert_eq!(found, hash, "{name}: {picture:?}");
        }
    }

    #[test]
    fn pixels_of_jpeg_files_are_those_of_pillow() {
        for (name, file, colours) in JPEG {
            let picture = decoded(file);
            assert_eq!((picture.width(), picture.height()), (32, 24));
            let places = [(4, 4), (28, 4), (12, 12), (20, 20)];
            for ((x, y), colour) in places.into_iter().zip(colours) {
                let found = &picture.as_rgb()[(y * 32 + x) * 3..][..3];
                // Two decoders may round the inverse transform differently.
                let near = found
                    .iter()
                    .zip(colour)
                    .all(|(found, wanted)| found.abs_diff(wanted) <= 2);
                assert!(near, "{name} at ({x}, {y}): {found:?} for {colour:?}");
            }
        }
    }

    #[test]
    fn damaged_and_enormous_files_are_refused() {
        let mut file = BASE64_STANDARD.decode(PNG[0].1).unwrap();
        assert!(Picture::decode(&file[..50]).is_err());
        assert!(Picture::decode(b"GIF89a").is_err());
        assert!(Picture::decode(&BASE64_STANDARD.decode(JPEG[0].1).unwrap()[..200]).is_err());
        // A header of 60,000 by 60,000 pixels; the checksum of the chunk covers it.
        file[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let mut crc = flate2::Crc::new();
        crc.update(&file[12..29]);
        file[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let error = Picture::decode(&file).unwrap_err();
        assert_eq!(error, "60000 by 60000 pixels are more than 178956970");
    }
}
