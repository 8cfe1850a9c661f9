//! Images and audio: reading, generating and packing them into messages.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use inferometer_core::random::StreamRng;
use inferometer_os::files;
use rand::Rng;
use serde_json::{Value, json};

use crate::picture::Picture;
use crate::{WorkloadError, jpeg};

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
        _ if riff_form(bytes) == Some(b"WEBP") => Some("image/webp"),
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
        data_url("image/jpeg", &jpeg::encode(&Picture::decode(bytes)?)?)
    } else {
        data_url(kind, bytes)
    };
    Ok(json!({"type": "image_url", "image_url": {"url": url}}))
}

/// An image of random pixels as JPEG, in a content part.
pub(crate) fn noise_part(rng: &mut StreamRng, width: u32, height: u32) -> Result<Value, String> {
    let mut pixels = vec![0; width as usize * height as usize * 3];
    rng.fill_bytes(&mut pixels);
    pixels_part(pixels, width, height)
}

/// An image of `pixels`, three bytes each, as JPEG in a content part.
pub(crate) fn pixels_part(pixels: Vec<u8>, width: u32, height: u32) -> Result<Value, String> {
    let image = Picture::new(width, height, pixels).ok_or("the image is too large")?;
    let url = data_url("image/jpeg", &jpeg::encode(&image)?);
    Ok(json!({"type": "image_url", "image_url": {"url": url}}))
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

/// What a file in the container format RIFF is: `WAVE`, `WEBP`.
fn riff_form(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"RIFF")?.get(4..8)
}

/// Length in seconds of a WAV or FLAC file.
pub(crate) fn audio_seconds(bytes: &[u8]) -> Option<f64> {
    match bytes {
        _ if riff_form(bytes) == Some(b"WAVE") => wav_seconds(bytes),
        [b'f', b'L', b'a', b'C', ..] => flac_seconds(bytes),
        _ => None,
    }
}

/// What a WAV file holds.
struct Wav<'a> {
    /// 1 for integers, 3 for floats.
    form: u16,
    channels: u16,
    samples_per_s: u32,
    bytes_per_s: u32,
    bits: u16,
    samples: &'a [u8],
}

fn read_wav(bytes: &[u8]) -> Option<Wav<'_>> {
    let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 12;
    let mut wav = None;
    loop {
        let name = bytes.get(at..at + 4)?;
        let size = word(at + 4)? as usize;
        match name {
            b"fmt " => {
                let form = match short(at + 8)? {
                    // An extended header, which begins with the plain form further down.
                    0xfffe => short(at + 32)?,
                    form => form,
                };
                wav = Some(Wav {
                    form,
                    channels: short(at + 10)?,
                    samples_per_s: word(at + 12)?,
                    bytes_per_s: word(at + 16)?,
                    bits: short(at + 22)?,
                    samples: &[],
                });
            }
            b"data" => {
                // A streamed file does not know its size, so the bytes that are there count.
                let there = bytes.len() - at - 8;
                return wav.map(|wav| Wav {
                    samples: &bytes[at + 8..at + 8 + size.min(there)],
                    ..wav
                });
            }
            _ => {}
        }
        at = at
            .checked_add(8)?
            .checked_add(size)?
            .checked_add(size % 2)?;
    }
}

fn wav_seconds(bytes: &[u8]) -> Option<f64> {
    let wav = read_wav(bytes)?;
    (wav.bytes_per_s > 0).then(|| wav.samples.len() as f64 / f64::from(wav.bytes_per_s))
}

/// A WAV file as vLLM's benchmark sends it: read and written again with Python's `soundfile`, which
/// gives 16-bit samples behind the shortest header. `None` for other files, and for samples of
/// other forms than integers of 8, 16, 24 and 32 bits and floats of 32 and 64.
///
/// The rounding is that of libsndfile 1.2.2 with clipping: samples are scaled to 32 bits, and the
/// lower 16 are cut off.
pub(crate) fn python_wav(bytes: &[u8]) -> Option<Vec<u8>> {
    if riff_form(bytes) != Some(b"WAVE") {
        return None;
    }
    let wav = read_wav(bytes)?;
    let scale = |sample: f64| {
        let scaled = (sample * f64::from(1_u32 << 31)).round_ties_even();
        (scaled as i32 >> 16) as i16
    };
    let data = wav.samples;
    let samples: Vec<i16> = match (wav.form, wav.bits) {
        (1, 8) => data.iter().map(|&s| (i16::from(s) - 128) << 8).collect(),
        (1, 16) => data
            .as_chunks()
            .0
            .iter()
            .map(|&s| i16::from_le_bytes(s))
            .collect(),
        (1, 24) => {
            let upper = |&[_, low, high]: &[u8; 3]| i16::from_le_bytes([low, high]);
            data.as_chunks().0.iter().map(upper).collect()
        }
        (1, 32) => {
            let upper = |&[_, _, low, high]: &[u8; 4]| i16::from_le_bytes([low, high]);
            data.as_chunks().0.iter().map(upper).collect()
        }
        (3, 32) => {
            let samples = data.as_chunks().0.iter();
            samples
                .map(|&s| scale(f32::from_le_bytes(s).into()))
                .collect()
        }
        (3, 64) => data
            .as_chunks()
            .0
            .iter()
            .map(|&s| scale(f64::from_le_bytes(s)))
            .collect(),
        _ => return None,
    };
    let frame = wav.channels.checked_mul(2)?;
    let size = u32::try_from(samples.len() * 2).ok()?;
    let mut out = b"RIFF".to_vec();
    out.extend(size.checked_add(36)?.to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    out.extend(wav.channels.to_le_bytes());
    out.extend(wav.samples_per_s.to_le_bytes());
    out.extend(wav.samples_per_s.checked_mul(frame.into())?.to_le_bytes());
    out.extend(frame.to_le_bytes());
    out.extend(b"\x10\0data");
    out.extend(size.to_le_bytes());
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    Some(out)
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

    /// A WAV file of one channel at 8 kHz.
    fn wav_of(form: u16, bits: u16, samples: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEjunk\x02\0\0\0xxfmt \x10\0\0\0".to_vec();
        out.extend(form.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(8000_u32.to_le_bytes());
        out.extend((8000 * u32::from(bits / 8)).to_le_bytes());
        out.extend((bits / 8).to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend((samples.len() as u32).to_le_bytes());
        out.extend(samples);
        out
    }

    /// From `soundfile.write(out, *soundfile.read(file), format="WAV")` with libsndfile 1.2.2.
    #[test]
    fn audio_is_written_again_as_python_writes_it() {
        let written = |form, bits, samples: &[u8]| -> Vec<i16> {
            let out = python_wav(&wav_of(form, bits, samples)).unwrap();
            let shorts = out[44..].as_chunks().0.iter();
            shorts.map(|&sample| i16::from_le_bytes(sample)).collect()
        };
        let out = python_wav(&wav_of(1, 16, &[1, 0, 0xff, 0xff])).unwrap();
        let header = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0";
        assert_eq!(
            (&out[..44], &out[44..]),
            (&header[..], &[1, 0, 0xff, 0xff][..])
        );
        let eight = written(1, 8, &[0, 1, 127, 128, 129, 255]);
        assert_eq!(eight, [-32_768, -32_512, -256, 0, 256, 32_512]);
        let long = [0, 1, -1, 8_388_607, -8_388_608, 123_456, -765_432, 255, 256];
        let bytes: Vec<u8> = long
            .iter()
            .flat_map(|sample: &i32| sample.to_le_bytes()[..3].to_vec())
            .collect();
        let short = [0, 0, -1, 32_767, -32_768, 482, -2990, 0, 1];
        assert_eq!(written(1, 24, &bytes), short);
        let floats = [
            0.0,
            1.0,
            -1.0,
            0.5,
            -0.5,
            1.5,
            -1.5,
            1e-5,
            0.3,
            1.0 / 65_534.0,
            3.0 / 65_534.0,
        ];
        let bytes: Vec<u8> = floats
            .iter()
            .flat_map(|sample: &f32| sample.to_le_bytes())
            .collect();
        let short = [
            0, 32_767, -32_768, 16_384, -16_384, 32_767, -32_768, 0, 9830, 0, 1,
        ];
        assert_eq!(written(3, 32, &bytes), short);
        assert_eq!(python_wav(b"fLaC"), None);
        assert_eq!(python_wav(&wav_of(6, 8, &[1])), None);
    }

    #[test]
    fn images_are_recognised_and_recoded() {
        let part = noise_part(&mut stream(1, "x"), 20, 10).unwrap();
        let url = part["image_url"]["url"].as_str().unwrap();
        let bytes = BASE64_STANDARD
            .decode(url.strip_prefix("data:image/jpeg;base64,").unwrap())
            .unwrap();
        let image = Picture::decode(&bytes).unwrap();
        assert_eq!((image.width(), image.height()), (20, 10));
        assert!(image_part(&bytes, true).is_ok());
        assert_eq!(image_part(&bytes, false).unwrap(), part);
        assert!(image_part(b"hello", false).is_err());
    }
}
