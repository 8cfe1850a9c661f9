use super::*;
use crate::{DatasetSettings, RandomSettings, Tokenizer, WorkloadSettings, build};

fn run(
    change: impl FnOnce(&mut RandomMmSettings),
) -> Result<inferometer_core::Workload, WorkloadError> {
    let mut options = RandomMmSettings {
        text: RandomSettings {
            input_len: 16,
            ..RandomSettings::default()
        },
        base_items: 2,
        buckets: vec![
            MmBucket {
                height: 8,
                width: 16,
                frames: 1,
                probability: 0.5,
            },
            MmBucket {
                height: 8,
                width: 8,
                frames: 1,
                probability: 0.5,
            },
            MmBucket {
                height: 8,
                width: 8,
                frames: 16,
                probability: 0.0,
            },
        ],
        ..RandomMmSettings::default()
    };
    change(&mut options);
    let settings = WorkloadSettings {
        num_prompts: 12,
        is_chat: true,
        ..WorkloadSettings::new(DatasetSettings::RandomMm(options))
    };
    build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
}

#[test]
fn every_request_has_its_images() {
    let workload = run(|options| options.items_range_ratio = 0.5).unwrap();
    let counts: Vec<usize> = workload
        .requests
        .iter()
        .map(|request| request.media.len())
        .collect();
    assert!(counts.iter().all(|n| (1..=3).contains(n)), "{counts:?}");
    assert!(
        counts.windows(2).any(|pair| pair[0] != pair[1]),
        "{counts:?}"
    );
    assert_eq!(
        workload.requests,
        run(|options| options.items_range_ratio = 0.5)
            .unwrap()
            .requests
    );
}

/// From NumPy 2.3 with the loop of vLLM 0.33's `RandomMultiModalDataset.get_mm_item_iterator`: width,
/// height and the sum of all samples of each image, and what the generator gives next.
#[test]
fn items_and_pixels_are_vllms() {
    let bucket = |height, width, frames, probability| MmBucket {
        height,
        width,
        frames,
        probability,
    };
    let options = RandomMmSettings {
        base_items: 2,
        items_range_ratio: 0.5,
        image_limit: Some(2),
        video_limit: Some(0),
        buckets: vec![
            bucket(8, 16, 1, 0.5),
            bucket(8, 8, 16, 0.3),
            bucket(24, 9, 1, 0.2),
        ],
        ..RandomMmSettings::default()
    };
    let plan = Plan::new(&options, true).unwrap();
    let mut rng = NumpyGenerator::new(3);
    let expected: [&[(u32, u32, u32)]; 8] = [
        &[(16, 8, 47_750), (16, 8, 49_615)],
        &[(16, 8, 49_582)],
        &[(16, 8, 50_287)],
        &[(16, 8, 49_370)],
        &[(16, 8, 48_795), (9, 24, 81_299)],
        &[(16, 8, 46_300)],
        &[(16, 8, 49_617)],
        &[(16, 8, 48_188)],
    ];
    for images in expected {
        let drawn: Vec<(u32, u32, u32)> = plan
            .draw(&mut rng)
            .into_iter()
            .map(|picture| {
                let sum = picture.pixels.iter().map(|&sample| u32::from(sample)).sum();
                (picture.width, picture.height, sum)
            })
            .collect();
        assert_eq!(drawn, images);
    }
    assert_eq!(rng.integers(0, 1 << 30), 519_571_697);
}

#[test]
fn enabled_chat_makes_one_message_of_text_and_images() {
    let workload = run(|options| options.multimodal_chat = true).unwrap();
    for request in &workload.requests {
        let Prompt::Messages(messages) = &request.prompt else {
            panic!("{:?}", request.prompt);
        };
        let content = messages[0]["content"].as_array().unwrap();
        assert_eq!((content.len(), request.media.len()), (3, 0));
    }
}

#[test]
fn a_kind_without_a_limit_is_refused() {
    // vLLM looks at buckets of probability 0 too.
    let without_video = RandomMmSettings {
        video_limit: None,
        ..RandomMmSettings::default()
    };
    let error = Plan::new(&without_video, true).err().unwrap().to_string();
    assert!(error.contains("no limit for \"video\""), "{error}");
    assert!(Plan::new(&without_video, false).is_ok());
    for is_vllm in [true, false] {
        let without_image = RandomMmSettings {
            image_limit: None,
            ..RandomMmSettings::default()
        };
        let error = Plan::new(&without_image, is_vllm).err().unwrap();
        assert!(
            error.to_string().contains("no limit for \"image\""),
            "{error}"
        );
    }
}

#[test]
fn invalid_settings_are_refused() {
    type Change = fn(&mut RandomMmSettings);
    let cases: [(Change, &str); 4] = [
        (
            |options| options.image_limit = Some(0),
            "--random-mm-limit-mm-per-prompt",
        ),
        (
            |options| options.buckets[2].probability = 0.1,
            "--random-mm-bucket-config: the bucket (",
        ),
        (
            |options| options.buckets[0].probability = -1.0,
            "must not be negative",
        ),
        (
            |options| options.items_range_ratio = 2.0,
            "--random-mm-num-mm-items-range-ratio",
        ),
    ];
    for (change, part) in cases {
        let error = run(|options| {
            change(options);
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
