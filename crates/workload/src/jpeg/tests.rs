use inferometer_core::random::NumpyGenerator;
use sha2::{Digest, Sha256};

use super::*;

/// Sizes with partial blocks and units in both directions, and the SHA-256 of the file that Pillow
/// 13.0 with libjpeg-turbo 3.2 writes of noise and of a gradient:
///
/// ```python
/// noise = numpy.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
/// y, x = numpy.mgrid[0:height, 0:width]
/// gradient = numpy.stack([x * 7 + y * 3, x * y, 255 - x - 2 * y], -1).astype(numpy.uint8)
/// Image.fromarray(pixels).save(file, format="JPEG")
/// ```
const GOLDEN: [(u32, u32, &str, &str); 9] = [
    (
        1,
        1,
        "ab0678551188ab52087ba549c105030aaf7582494ed9800fa95d13e2535805d9",
        "3d9ea6c404d13ee2df59fa5c31a53591578b88b0455b17a58b935adce253d11e",
    ),
    (
        8,
        8,
        "6bea67a2f11677742d7443d49e7c07c89b3159cc2f86f130d4e6a11f2f5b0121",
        "080a9baa48f33eb64edd4069b6234875eb610c0bf1269cf0182c56bd59dc8a17",
    ),
    (
        16,
        16,
        "425129124a7f4121946d2d4cd94a69696e9d856c4aa1188ceb615bf18f38f86b",
        "9062404097454ddfe6ebfb9396ea0e2fe0dd9f6beeee53f25b21d8ee88014f16",
    ),
    (
        17,
        21,
        "0915d2f1ac8cadd1990b2a20d8182c016487ede87a6667194457b4954ff47913",
        "2e3e154e02cb2222cf03137c8440f1302f400f12e1ca6c0c83071c6b4830ee90",
    ),
    (
        21,
        17,
        "2b3c9c0ed067a8cf96c27bb545cebd9b0a7016f7f77adc725357cc64f46c54f0",
        "9ba476388327eb160575177431838c90e439d52b0737f602173a7227602fb3bd",
    ),
    (
        9,
        16,
        "84c569e3c4fc63eda75c778ed76fea4418b724ae162384e4a52c4885fe2c2fc8",
        "e165c83311c793d6bcd1a536a100005dc61b7e9474f9b193a5e2c43d4ae85695",
    ),
    (
        33,
        2,
        "1c7da778e2de8b0ae8018df9896d39735131e39b788f393930522886cca1f89a",
        "a64ac1cc357b6969c2914561f83a0cd1ef1bd6dac2a3012da888d9b08b687667",
    ),
    (
        7,
        40,
        "9e492265c6f63136a557e4c756b3b29e488ad98b7197a44d85e5a20c6e384988",
        "22360a15112f7ba8982322975e4ed7cc7849997ff543f744f81807185bcf3883",
    ),
    (
        256,
        256,
        "e59bf97c8d1120bdfd6f362e4cfdd9f6b738214a877455a4e2f48685bad4ab2e",
        "d5e8444b12f8c2f4a613103bc350d11b637680f8609dbeaeff7dcb89d0939c19",
    ),
];

fn hash(width: u32, height: u32, pixels: Vec<u8>) -> String {
    let image = Picture::new(width, height, pixels).unwrap();
    inferometer_core::hex(&Sha256::digest(encode(&image).unwrap()))
}

fn blank(width: u32, height: u32) -> Picture {
    let bytes = width as usize * height as usize * 3;
    Picture::new(width, height, vec![0; bytes]).unwrap()
}

#[test]
fn the_bytes_are_pillows() {
    for (width, height, noise, gradient) in GOLDEN {
        let count = (width * height * 3) as usize;
        let pixels = NumpyGenerator::new(5).integers_u8(0, 256, count);
        assert_eq!(hash(width, height, pixels), noise, "noise {width}x{height}");
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                [x * 7 + y * 3, x * y, 255_u32.wrapping_sub(x + 2 * y)].map(|value| value as u8)
            })
            .collect();
        assert_eq!(
            hash(width, height, pixels),
            gradient,
            "gradient {width}x{height}"
        );
    }
}

#[test]
fn sizes_that_the_format_does_not_hold_are_refused() {
    for (width, height) in [(0, 0), (65_536, 1), (1, 65_536)] {
        assert!(encode(&blank(width, height)).is_err());
    }
}
