//! Baseline JPEG as libjpeg writes it by default: quality 75, chroma halved in both directions, the
//! integer transform, the example tables of the standard (ITU-T T.81, annex K).
//!
//! vLLM's benchmark encodes its images with Pillow, which leaves all of this to libjpeg. The
//! encoder of the crate `image` keeps the chroma at full resolution and rounds differently, so a
//! body of noise became larger than vLLM's. This one writes the same bytes (`tests` compares files
//! that Pillow 13.0 with libjpeg-turbo 3.2 wrote).

mod tables;
#[cfg(test)]
mod tests;
mod transform;

use self::tables::{AC_CHROMA, AC_LUMA, DC_CHROMA, DC_LUMA, Huffman, Spec, ZIGZAG, quantisers};
use self::transform::{Block, SIDE, forward};
use crate::picture::Picture;

/// Largest width and height that the format holds.
const LARGEST: u32 = 65_535;

/// The bytes of `image` as JPEG.
///
/// # Errors
///
/// When the image is empty or wider or higher than 65,535 pixels.
pub(crate) fn encode(image: &Picture) -> Result<Vec<u8>, String> {
    let (width, height) = (image.width(), image.height());
    if width == 0 || height == 0 || width > LARGEST || height > LARGEST {
        return Err(format!(
            "{width} by {height} pixels do not fit into a JPEG image"
        ));
    }
    let mut out = Vec::with_capacity((width as usize * height as usize) / 2 + 1024);
    head(&mut out, width as u16, height as u16);
    let [luma, chroma] = quantisers();
    let [y, cb, cr] = planes(image);
    let mut channels = [
        Channel::new(y, 2, luma, (&DC_LUMA, &AC_LUMA)),
        Channel::new(cb, 1, chroma, (&DC_CHROMA, &AC_CHROMA)),
        Channel::new(cr, 1, chroma, (&DC_CHROMA, &AC_CHROMA)),
    ];
    let mut bits = Bits {
        out,
        buffer: 0,
        count: 0,
    };
    let unit = 2 * SIDE;
    for row in 0..(height as usize).div_ceil(unit) {
        for column in 0..(width as usize).div_ceil(unit) {
            for channel in &mut channels {
                channel.write_unit(row, column, &mut bits);
            }
        }
    }
    Ok(bits.finish())
}

/// The samples of one channel, padded to whole blocks by repeating the last column and row.
struct Plane {
    samples: Vec<u8>,
    /// Samples of a row, with padding.
    stride: usize,
    /// Blocks that hold samples of the image.
    blocks_wide: usize,
    blocks_high: usize,
}

impl Plane {
    /// `rows` holds rows of `stride` samples; the last is repeated to fill the last blocks.
    fn padded(mut samples: Vec<u8>, stride: usize) -> Self {
        let rows = samples.len() / stride;
        let blocks_high = rows.div_ceil(SIDE);
        for _ in rows..blocks_high * SIDE {
            samples.extend_from_within(samples.len() - stride..);
        }
        Self {
            samples,
            stride,
            blocks_wide: stride / SIDE,
            blocks_high,
        }
    }

    fn block(&self, row: usize, column: usize) -> Block {
        let mut block = [0; SIDE * SIDE];
        for (y, line) in block.chunks_exact_mut(SIDE).enumerate() {
            let start = (row * SIDE + y) * self.stride + column * SIDE;
            let samples = &self.samples[start..start + SIDE];
            for (to, from) in line.iter_mut().zip(samples) {
                *to = i32::from(*from) - 128;
            }
        }
        block
    }
}

/// Brightness at full resolution, and both colours at half.
fn planes(image: &Picture) -> [Plane; 3] {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let stride = width.next_multiple_of(SIDE);
    let half_stride = width.div_ceil(2).next_multiple_of(SIDE);
    let mut y = Vec::with_capacity(stride * height.next_multiple_of(SIDE));
    let [mut cb, mut cr] = [Vec::new(), Vec::new()];
    for pair in image.as_rgb().chunks(2 * width * 3) {
        let mut halves = [Vec::new(), Vec::new()];
        for row in pair.chunks_exact(width * 3) {
            let [mut blues, mut reds] = [
                Vec::with_capacity(2 * half_stride),
                Vec::with_capacity(2 * half_stride),
            ];
            for pixel in row.chunks_exact(3) {
                let [light, blue, red] = convert(pixel);
                y.push(light);
                blues.push(blue);
                reds.push(red);
            }
            widen(&mut y, stride - width);
            widen(&mut blues, 2 * half_stride - width);
            widen(&mut reds, 2 * half_stride - width);
            halves[0].push(blues);
            halves[1].push(reds);
        }
        halve(&halves[0], &mut cb);
        halve(&halves[1], &mut cr);
    }
    [
        Plane::padded(y, stride),
        Plane::padded(cb, half_stride),
        Plane::padded(cr, half_stride),
    ]
}

/// Repeats the last sample.
fn widen(row: &mut Vec<u8>, by: usize) {
    let last = row.last().copied().unwrap_or_default();
    row.resize(row.len() + by, last);
}

/// The mean of every two by two samples of one row or two; libjpeg rounds down and up by turns.
fn halve(rows: &[Vec<u8>], out: &mut Vec<u8>) {
    let [Some(upper), lower] = [rows.first(), rows.get(1)] else {
        return;
    };
    let lower = lower.unwrap_or(upper);
    let mut bias = 1;
    for (above, below) in upper.chunks_exact(2).zip(lower.chunks_exact(2)) {
        let sum: u16 = above
            .iter()
            .chain(below)
            .map(|&sample| u16::from(sample))
            .sum();
        out.push(((sum + bias) >> 2) as u8);
        bias ^= 3;
    }
}

/// Red, green and blue as brightness and two colours, in libjpeg's 16-bit fixed point.
fn convert(pixel: &[u8]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    const CENTRE: i32 = (128 << 16) + HALF - 1;
    let [r, g, b] = [0, 1, 2].map(|at| i32::from(pixel[at]));
    [
        (19_595 * r + 38_470 * g + 7_471 * b + HALF) >> 16,
        (-11_059 * r - 21_709 * g + 32_768 * b + CENTRE) >> 16,
        (32_768 * r - 27_439 * g - 5_329 * b + CENTRE) >> 16,
    ]
    .map(|sample| sample as u8)
}

/// A channel on its way into the file.
struct Channel {
    plane: Plane,
    /// Blocks of a unit in each direction.
    side: usize,
    quantiser: [u16; SIDE * SIDE],
    dc: Huffman,
    ac: Huffman,
    /// The mean of the block written last.
    last: i32,
}

impl Channel {
    fn new(
        plane: Plane,
        side: usize,
        quantiser: [u16; SIDE * SIDE],
        (dc, ac): (&Spec, &Spec),
    ) -> Self {
        Self {
            plane,
            side,
            quantiser,
            dc: Huffman::new(dc),
            ac: Huffman::new(ac),
            last: 0,
        }
    }

    /// Writes its blocks of one unit. Blocks outside of the image have the mean of the block before
    /// them and nothing else, which costs least.
    fn write_unit(&mut self, row: usize, column: usize, bits: &mut Bits) {
        let mut before = 0;
        for y in row * self.side..(row + 1) * self.side {
            for x in column * self.side..(column + 1) * self.side {
                let block = if y < self.plane.blocks_high && x < self.plane.blocks_wide {
                    self.quantised(y, x)
                } else {
                    let mut empty = [0; SIDE * SIDE];
                    empty[0] = before;
                    empty
                };
                before = block[0];
                self.write(&block, bits);
            }
        }
    }

    fn quantised(&self, row: usize, column: usize) -> Block {
        let mut block = self.plane.block(row, column);
        forward(&mut block);
        for (value, &by) in block.iter_mut().zip(&self.quantiser) {
            // The transform leaves everything eight times too large.
            let by = i32::from(by) << 3;
            let rounded = (value.abs() + (by >> 1)) / by;
            *value = if *value < 0 { -rounded } else { rounded };
        }
        block
    }

    fn write(&mut self, block: &Block, bits: &mut Bits) {
        let change = block[0] - self.last;
        self.last = block[0];
        let size = size_of(change);
        self.dc.write(size as u8, bits);
        bits.push_value(change, size);
        let mut zeros = 0_u8;
        for &at in &ZIGZAG[1..] {
            let value = block[at];
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros > 15 {
                self.ac.write(0xf0, bits);
                zeros -= 16;
            }
            let size = size_of(value);
            self.ac.write((zeros << 4) | size as u8, bits);
            bits.push_value(value, size);
            zeros = 0;
        }
        if zeros > 0 {
            self.ac.write(0, bits);
        }
    }
}

/// Bits of the magnitude of `value`.
fn size_of(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// Everything before the image data.
fn head(out: &mut Vec<u8>, width: u16, height: u16) {
    out.extend([0xff, 0xd8]);
    // JFIF 1.1, one pixel as wide as high, no preview.
    segment(out, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    for (number, quantiser) in (0..).zip(quantisers()) {
        let mut body = vec![number];
        body.extend(ZIGZAG.map(|at| quantiser[at] as u8));
        segment(out, 0xdb, &body);
    }
    let [h0, h1] = height.to_be_bytes();
    let [w0, w1] = width.to_be_bytes();
    let frame = [8, h0, h1, w0, w1, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    segment(out, 0xc0, &frame);
    for (number, spec) in [
        (0x00, &DC_LUMA),
        (0x10, &AC_LUMA),
        (0x01, &DC_CHROMA),
        (0x11, &AC_CHROMA),
    ] {
        segment(
            out,
            0xc4,
            &[&[number], &spec.counts[..], spec.symbols].concat(),
        );
    }
    segment(out, 0xda, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

/// The image data, bit by bit.
pub(super) struct Bits {
    out: Vec<u8>,
    buffer: u32,
    count: u32,
}

impl Bits {
    /// Appends the lower `size` bits, at most 16.
    fn push(&mut self, value: u32, size: u32) {
        self.buffer = (self.buffer << size) | (value & ((1 << size) - 1));
        self.count += size;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                // So that it is not taken for a marker.
                self.out.push(0);
            }
        }
    }

    /// Appends a value of `size` bits; a negative one is one less.
    fn push_value(&mut self, value: i32, size: u32) {
        let value = if value < 0 { value - 1 } else { value };
        self.push(value as u32, size);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.push(0x7f, 7);
        }
        self.out.extend([0xff, 0xd9]);
        self.out
    }
}
