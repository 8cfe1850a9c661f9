//! Every dataset on the binary.

use super::{good, quick, write_files};

#[test]
fn every_dataset_has_a_working_command() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    let chat = "--backend openai-chat";
    for line in [
        "--dataset-name random --random-input-len 20 --random-output-len 4",
        &format!(
            "--dataset-name random-mm {chat} --random-input-len 20 --random-output-len 4 --random-mm-bucket-config \
             {{(16,16,1):1.0}}"
        ),
        "--dataset-name random-rerank --backend vllm-rerank --endpoint /v1/rerank --random-input-len 20 \
         --random-batch-size 3",
        "--dataset-name mix --mix 70:20/4,30:lognormal(30,0.5)/6",
        "--dataset-name prefix_repetition --prefix-repetition-prefix-len 16 --prefix-repetition-suffix-len 8 \
         --prefix-repetition-num-prefixes 2 --prefix-repetition-output-len 3",
        "--dataset-name sonnet --sonnet-input-len 300 --sonnet-prefix-len 100 --sonnet-output-len 3",
        "--dataset-name sharegpt --dataset-path talks.json",
        "--dataset-name custom --dataset-path prompts.jsonl --custom-output-len -1",
        &format!(
            "--dataset-name custom_image --dataset-path images.jsonl {chat} --custom-output-len 3"
        ),
        "--dataset-name custom_audio --dataset-path sounds.jsonl --backend openai-audio --endpoint \
         /v1/audio/transcriptions --custom-output-len 3",
        "--dataset-name burstgpt --dataset-path burst.csv",
        "--dataset-name spec_bench --dataset-path questions.jsonl --spec-bench-category math \
         --spec-bench-output-len 3",
        "--dataset-name speed_bench --dataset-path speed --speed-bench-output-len 3",
        "--dataset-name timed_trace --dataset-path timed.jsonl",
        "--dataset-name trace --dataset-path azure.csv --trace-speed 20",
        "--dataset-name trace --dataset-path burst.csv --trace-speed 200",
        &format!(
            "--dataset-name multi-turn --dataset-path talks.json {chat} --multi-turn-output-len 3"
        ),
        &format!("--multi-turn {chat} --multi-turn-first-len 20 --multi-turn-output-len 4"),
        "--dataset-name hf --dataset-path bench --hf-name philschmid/mt-bench --hf-output-len 3",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let result = good(
            folder.path(),
            &server.url(),
            &[&arguments[..], &["--num-prompts", "6"]].concat(),
        );
        // Documents to rank count as prompts, as in vLLM.
        let expected = if line.contains("rerank") { 2 } else { 6 };
        assert_eq!(result["completed"], expected, "{line}");
    }
    server.stop().unwrap();
}
