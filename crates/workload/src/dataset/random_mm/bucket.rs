//! Sizes of images and videos, with their probabilities.

use crate::WorkloadError;

/// A size of images or videos, and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct MmBucket {
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// 1 for an image; more for a video.
    pub frames: u32,
    /// Probability; need not sum to 1.
    pub probability: f64,
}

impl MmBucket {
    fn has_size_of(&self, other: &Self) -> bool {
        (self.height, self.width, self.frames) == (other.height, other.width, other.frames)
    }

    /// Reads `{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}`: height, width, frames and probability.
    ///
    /// # Errors
    ///
    /// Text of another form, and an empty set.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, WorkloadError> {
        const FLAG: &str = "--random-mm-bucket-config";
        let wrong = || {
            WorkloadError::setting(
                FLAG,
                format!("{text:?} must look like {{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}}"),
            )
        };
        let body = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(wrong)?;
        let mut buckets = Vec::new();
        for entry in body.split('(').skip(1) {
            let (size, probability) = entry.split_once(')').ok_or_else(wrong)?;
            let size: Option<Vec<u32>> = size
                .trim_end_matches([' ', ','])
                .split(',')
                .map(|part| part.trim().parse().ok())
                .collect();
            // Keys may be quoted, as JSON demands.
            let probability = probability.trim_start_matches(['"', '\'', ' ']);
            let probability = probability.strip_prefix(':').ok_or_else(wrong)?;
            let probability = probability
                .trim_end_matches(['"', '\'', ' ', ','])
                .trim()
                .parse()
                .map_err(|_| wrong())?;
            let &[height, width, frames] = size.ok_or_else(wrong)?.as_slice() else {
                return Err(wrong());
            };
            let bucket = Self {
                height,
                width,
                frames,
                probability,
            };
            // As in a Python dict, a key that is repeated keeps its place and its last value.
            match buckets.iter_mut().find(|known| bucket.has_size_of(known)) {
                Some(known) => *known = bucket,
                None => buckets.push(bucket),
            }
        }
        if buckets.is_empty() {
            Err(wrong())
        } else {
            Ok(buckets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_from_pythons_spelling() {
        let buckets = MmBucket::parse_all("{(256, 256, 1): 0.5, (720, 1280, 16): 0.25,}").unwrap();
        assert_eq!(
            buckets[1],
            MmBucket {
                height: 720,
                width: 1280,
                frames: 16,
                probability: 0.25
            }
        );
        assert_eq!(buckets.len(), 2);
        // As in a Python dict, which may have keys that are texts.
        let again = MmBucket::parse_all("{'(8, 8, 1)': 1, \"(9, 9, 1)\": 2, (8,8,1): 3}").unwrap();
        let found: Vec<(u32, f64)> = again
            .iter()
            .map(|one| (one.width, one.probability))
            .collect();
        assert_eq!(found, [(8, 3.0), (9, 2.0)]);
        for bad in [
            "",
            "{}",
            "{(1,2): 3}",
            "{(1,2,3) 4}",
            "(1,2,3): 0.5",
            "{(a,2,3): 0.5}",
        ] {
            assert!(MmBucket::parse_all(bad).is_err(), "{bad}");
        }
    }
}
