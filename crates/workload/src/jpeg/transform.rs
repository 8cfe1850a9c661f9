//! The forward transform, libjpeg's `jpeg_fdct_islow` (Loeffler, Ligtenberg and Moschytz) in
//! integers: every operation in its order, because each rounds.

/// Samples of a block in each direction.
pub(super) const SIDE: usize = 8;

/// Samples or coefficients row by row.
pub(super) type Block = [i32; SIDE * SIDE];

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

/// Transforms a block in place; coefficients are eight times too large.
pub(super) fn forward(block: &mut Block) {
    for row in 0..SIDE {
        pass(block, row * SIDE, 1, &Scale::ROWS);
    }
    for column in 0..SIDE {
        pass(block, column, SIDE, &Scale::COLUMNS);
    }
}

/// How a pass scales: rows keep two more bits, columns drop them.
struct Scale {
    /// Even multiples of the sum: bits to the left, or to the right with rounding.
    left: u32,
    right: u32,
    /// Products: bits to the right.
    product: u32,
}

impl Scale {
    const ROWS: Self = Self {
        left: PASS1_BITS,
        right: 0,
        product: CONST_BITS - PASS1_BITS,
    };
    const COLUMNS: Self = Self {
        left: 0,
        right: PASS1_BITS,
        product: CONST_BITS + PASS1_BITS,
    };
}

/// `value` divided by 2^`bits`, rounded.
fn descale(value: i32, bits: u32) -> i32 {
    if bits == 0 {
        return value;
    }
    (value + (1 << (bits - 1))) >> bits
}

/// One row or column: eight values, `step` apart.
fn pass(block: &mut Block, start: usize, step: usize, scale: &Scale) {
    let at = |n: usize| start + n * step;
    let sum = |n: usize| block[at(n)] + block[at(7 - n)];
    let difference = |n: usize| block[at(n)] - block[at(7 - n)];
    let [s0, s1, s2, s3] = [0, 1, 2, 3].map(sum);
    let [d0, d1, d2, d3] = [0, 1, 2, 3].map(difference);

    let (even0, even3) = (s0 + s3, s0 - s3);
    let (even1, even2) = (s1 + s2, s1 - s2);
    let plain = |value: i32| descale(value << scale.left, scale.right);
    let product = |value: i32| descale(value, scale.product);
    let z1 = (even2 + even3) * 4433;
    block[at(0)] = plain(even0 + even1);
    block[at(4)] = plain(even0 - even1);
    block[at(2)] = product(z1 + even3 * 6270);
    block[at(6)] = product(z1 - even2 * 15_137);

    let z5 = (d3 + d1 + d2 + d0) * 9633;
    let z1 = (d3 + d0) * -7373;
    let z2 = (d2 + d1) * -20_995;
    let z3 = (d3 + d1) * -16_069 + z5;
    let z4 = (d2 + d0) * -3196 + z5;
    block[at(7)] = product(d3 * 2446 + z1 + z3);
    block[at(5)] = product(d2 * 16_819 + z2 + z4);
    block[at(3)] = product(d1 * 25_172 + z2 + z3);
    block[at(1)] = product(d0 * 12_299 + z1 + z4);
}
