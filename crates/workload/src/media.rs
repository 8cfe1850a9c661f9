//! Images and audio: reading, generating and packing them into messages.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use inferometer_core::random::StreamRng;
use inferometer_os::files;
use rand::Rng;
use serde_json::{Value, json};

use crate::WorkloadError;

/// The quality that Python's imaging library uses when none is given.
const JPEG_QUALITY: u8 = 75;

/// Bytes as a data URL.
pub(crate) fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", BASE64_STANDARD.encode(bytes))
}

/// The media type of an image by its first bytes.
pub(crate) fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

/// The media type of a video by the ending of its name.
pub(crate) fn video_type(name: &str) -> &'static str {
    match name
        .rsplit('.')
        .next()
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("webm") => "video/webm",
        Some("mov") => "video/quicktime",
        Some("mkv") => "video/x-matroska",
        Some("avi") => "video/x-msvideo",
        _ => "video/mp4",
    }
}

/// The content part for an image held in memory.
///
/// With `recode` every image is sent as JPEG, as vLLM's benchmark does; else as it is.
pub(crate) fn image_part(bytes: &[u8], recode: bool) -> Result<Value, String> {
    let kind = image_type(bytes).ok_or("it is not a JPEG, PNG, GIF or WebP image")?;
    let url = if recode {
        let image = image::load_from_memory(bytes).map_err(|error| error.to_string())?;
        data_url("image/jpeg", &jpeg(&image.to_rgb8())?)
    } else {
        data_url(kind, bytes)
    };
    Ok(json!({"type": "image_url", "image_url": {"url": url}}))
}

/// An image of random pixels as JPEG, in a content part.
pub(crate) fn noise_part(rng: &mut StreamRng, width: u32, height: u32) -> Result<Value, String> {
    let mut pixels = vec![0; width as usize * height as usize * 3];
    rng.fill_bytes(&mut pixels);
    let image = image::RgbImage::from_raw(width, height, pixels).ok_or("the image is too large")?;
    let url = data_url("image/jpeg", &jpeg(&image)?);
    Ok(json!({"type": "image_url", "image_url": {"url": url}}))
}

fn jpeg(image: &image::RgbImage) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY)
        .encode_image(image)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// Largest image, video or audio file: 1 GB. It is held in memory, in base64.
pub(crate) const MAX_MEDIA: u64 = 1 << 30;

/// The bytes of a file that a dataset names.
pub(crate) fn local_file(
    dataset: &Path,
    line: usize,
    name: &str,
) -> Result<Vec<u8>, WorkloadError> {
    let path = Path::new(name.strip_prefix("file://").unwrap_or(name));
    files::bytes(path, MAX_MEDIA).map_err(|error| {
        WorkloadError::format(
            dataset,
            Some(line),
            format!("cannot read {}: {error}", path.display()),
        )
    })
}

/// Length in seconds of a WAV or FLAC file.
pub(crate) fn audio_seconds(bytes: &[u8]) -> Option<f64> {
    match bytes {
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'A',
            b'V',
            b'E',
            ..,
        ] => wav_seconds(bytes),
        [b'f', b'L', b'a', b'C', ..] => flac_seconds(bytes),
        _ => None,
    }
}

fn wav_seconds(bytes: &[u8]) -> Option<f64> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 12;
    let mut rate = None;
    loop {
        let name = bytes.get(at..at + 4)?;
        let size = word(at + 4)? as usize;
        match name {
            b"fmt " => rate = Some(word(at + 16)?).filter(|rate| *rate > 0),
            b"data" => {
                // A streamed file does not know its size, so the bytes that are there count.
                let there = bytes.len() - at - 8;
                return Some(size.min(there) as f64 / f64::from(rate?));
            }
            _ => {}
        }
        at = at
            .checked_add(8)?
            .checked_add(size)?
            .checked_add(size % 2)?;
    }
}

fn flac_seconds(bytes: &[u8]) -> Option<f64> {
    // The first block describes the stream: sample rate in 20 bits, number of samples in 36.
    let info = bytes.get(8..8 + 34)?;
    let rate = u32::from(info[10]) << 12 | u32::from(info[11]) << 4 | u32::from(info[12]) >> 4;
    let samples = u64::from(info[13] & 0x0f) << 32
        | u64::from(info[14]) << 24
        | u64::from(info[15]) << 16
        | u64::from(info[16]) << 8
        | u64::from(info[17]);
    (rate > 0).then(|| samples as f64 / f64::from(rate))
}

#[cfg(test)]
pub(crate) mod tests {
    use inferometer_core::random::stream;

    use super::*;

    /// A WAV file of silence.
    pub(crate) fn wav(seconds: f64) -> Vec<u8> {
        let samples = (seconds * 8000.0) as u32;
        let mut out = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        out.extend(16_u32.to_le_bytes());
        for half in [1_u16, 1] {
            out.extend(half.to_le_bytes());
        }
        out.extend(8000_u32.to_le_bytes());
        out.extend(16_000_u32.to_le_bytes());
        out.extend([2, 0, 16, 0]);
        out.extend(b"data");
        out.extend((samples * 2).to_le_bytes());
        out.resize(out.len() + samples as usize * 2, 0);
        out
    }

    #[test]
    fn lengths_of_audio_files_are_read() {
        assert_eq!(audio_seconds(&wav(1.5)), Some(1.5));
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.extend([0; 34]);
        // 16 kHz, 40,000 samples.
        flac[18..26].copy_from_slice(&[0x03, 0xe8, 0x00, 0xf0, 0, 0, 0x9c, 0x40]);
        assert_eq!(audio_seconds(&flac), Some(2.5));
        assert_eq!(audio_seconds(b"RIFF"), None);
        assert_eq!(audio_seconds(b"RIFF\0\0\0\0WAVEfmt "), None);
    }

    #[test]
    fn images_are_recognised_and_recoded() {
        let part = noise_part(&mut stream(1, "x"), 20, 10).unwrap();
        let url = part["image_url"]["url"].as_str().unwrap();
        let bytes = BASE64_STANDARD
            .decode(url.strip_prefix("data:image/jpeg;base64,").unwrap())
            .unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!((image.width(), image.height()), (20, 10));
        assert!(image_part(&bytes, true).is_ok());
        assert_eq!(image_part(&bytes, false).unwrap(), part);
        assert!(image_part(b"hello", false).is_err());
    }
}
