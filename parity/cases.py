"""The argument sets: drawn from vLLM's own scripts (auto_tune, nightly performance runs, documentation) and from
the tutorials that people follow, with fewer requests. Names in braces are filled in by the harness."""

import json
import random
import wave
from dataclasses import dataclass, field


@dataclass
class Case:
    name: str
    arguments: list
    # Differences that are explained in docs/compatibility.md, as patterns.
    known: list = field(default_factory=list)
    env: dict = field(default_factory=dict)
    capped: bool = False
    tokenizes: bool = False
    tells_usage: bool = True
    failing: bool = False
    refused: bool = False
    fetches_model: bool = False
    by_port: bool = False
    drafts: bool = False
    # The server ends each answer with an event of its own for the end-of-text token.
    ends: bool = False
    # The server reports its own times in the last event.
    times: bool = False
    # The server takes 20 ms a step, and the times of both clients are compared.
    timed: bool = False
    # The real client is vLLM 0.10's benchmark_serving.py.
    legacy: bool = False
    # Fields of bodies with another value on purpose: name, and both values.
    other_values: dict = field(default_factory=dict)


def case(name, line, **options):
    arguments = line if isinstance(line, list) else line.split()
    options.setdefault("capped", any("max-conc" in argument or "max_conc" in argument for argument in arguments))
    return Case(name, arguments, **options)


SMALL = "--random-input-len 24 --random-output-len 6 --num-prompts 8"
SAVE = "--save-result --save-detailed"
MM = ("--backend openai-chat --endpoint /v1/chat/completions --dataset-name random-mm --random-input-len 12 "
      "--random-output-len 3")
SHAREGPT = "--dataset-name sharegpt --dataset-path {sharegpt} --num-prompts 8 --max-concurrency 4"
ALL_METRICS = "--percentile-metrics ttft,tpot,itl,e2el"

CASES = [
    # The tutorial's first steps.
    case("quick random", f"--backend vllm --dataset-name random {SMALL} --request-rate 40"),
    case("all at once", f"--backend vllm {SMALL}"),
    case("defaults of the backend", f"--dataset-name random {SMALL} --request-rate inf"),
    case("one tiny request", "--backend vllm --num-prompts 1 --random-input-len 10 --random-output-len 5"),
    case("concurrency 4, saved", f"--backend vllm {SMALL} --max-concurrency 4 {SAVE} --result-filename c4.json"),
    case("saved without details", f"--backend vllm {SMALL} --save-result --result-filename s.json"),
    case("usual file name", f"--backend vllm {SMALL} --request-rate 50 --max-concurrency 8 --save-result"),
    case("file name with a label", f"--backend vllm {SMALL} --label base --save-result"),
    case("appended", f"--backend vllm {SMALL} --append-result --result-filename all.jsonl"),
    case("goodput and percentiles", f"--backend vllm {SMALL} --request-rate 40 --goodput ttft:200 tpot:50 e2el:5000 "
         f"--percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,95,99,99.9 {SAVE} --result-filename g.json"),
    case("metadata", f"--backend vllm {SMALL} --metadata environment=production load_test=true a=b=c --save-result "
         "--result-filename m.json"),
    case("queue times", f"--backend vllm {SMALL} --request-rate 60 --max-concurrency 2 --percentile-metrics "
         f"ttft,client_queue_time,e2el_including_client_queue {SAVE} --result-filename q.json"),
    case("auto_tune, as fast as it goes", "--backend vllm --dataset-name random --random-input-len 30 --random-output-len 6 "
         "--random-prefix-len 8 --ignore-eos --request-rate inf --percentile-metrics ttft,tpot,itl,e2el --goodput e2el:500 "
         "--num-prompts 12", by_port=True),
    case("auto_tune, at a rate", "--backend vllm --dataset-name random --random-input-len 30 --random-output-len 6 "
         "--ignore-eos --request-rate 30 --percentile-metrics ttft,tpot,itl,e2el --goodput e2el:500 --num-prompts 10 "
         "--random-range-ratio 0.2", by_port=True),
    case("nightly run", f"--backend vllm {SMALL} --save-result --result-dir results/deep --result-filename "
         "serving_llama8B_tp1_qps_4.json --request-rate 40 --max-concurrency 200 --ignore-eos --metadata "
         "tensor_parallel_size=1 hardware=H100"),
    case("stress, scaled down", "--backend vllm --random-input-len 100 --random-output-len 20 --num-prompts 64 --max-concurrency 16 "
         f"{SAVE} --result-filename stress.json"),
    # Arrivals.
    case("bursty", f"--backend vllm {SMALL} --request-rate 30 --burstiness 0.5"),
    case("even", f"--backend vllm {SMALL} --request-rate 30 --burstiness 8 --seed 3"),
    case("linear ramp", f"--backend vllm {SMALL} --ramp-up-strategy linear --ramp-up-start-rps 5 --ramp-up-end-rps 30 "
         f"{SAVE} --result-filename r.json"),
    case("exponential ramp", f"--backend vllm {SMALL} --ramp-up-strategy exponential --ramp-up-start-rps 5 "
         "--ramp-up-end-rps 40 --save-result"),
    case("another seed", f"--backend vllm {SMALL} --request-rate 40 --seed 42"),
    # Random data.
    case("range ratio", "--backend vllm --random-input-len 40 --random-output-len 8 --random-range-ratio 0.5 --num-prompts 12"),
    case("range ratio as JSON", ["--backend", "vllm", "--num-prompts", "8", "--random-input-len", "30", "--random-output-len",
         "6", "--random-range-ratio", '{"input": 0.2, "output": 0.5}']),
    case("prefix", f"--backend vllm {SMALL} --random-prefix-len 16"),
    case("general lengths", "--backend vllm --input-len 20 --output-len 4 --num-prompts 6"),
    case("prompts of another tokenizer", f"--backend vllm {SMALL} --tokenizer {{chat_tokenizer}}"),
    case("aligned with the server", f"--backend vllm {SMALL}", tokenizes=True),
    # Content.
    case("sampling", f"--backend vllm {SMALL} --temperature 0 --top-p 0.9 --top-k 20 --min-p 0.1 --frequency-penalty 0.5 "
         "--presence-penalty=-0.5 --repetition-penalty 1.2"),
    case("extra body", ["--backend", "vllm", *SMALL.split(), "--extra-body", '{"min_tokens": 3, "é": [1.5, null]}']),
    case("dotted options", f"--backend vllm {SMALL} --extra-body.a.b 1 --extra-body.stop+ x,y --extra-body.c 2.50"),
    case("logprobs and headers", f"--backend vllm {SMALL} --logprobs 2 --header x-parity=yes"),
    case("served model name", f"--backend vllm {SMALL} --served-model-name other"),
    case("adapters by turns", f"--backend vllm {SMALL} --lora-modules one two three --lora-assignment round-robin"),
    case("adapters at random", f"--backend vllm {SMALL} --lora-modules one two three"),
    case("model from the server", f"--backend vllm {SMALL} --save-result", fetches_model=True),
    # Other backends.
    case("chat", f"--backend openai-chat --endpoint /v1/chat/completions {SMALL} --request-rate 40 {SAVE} --result-filename c.json"),
    case("responses", f"--backend openai-responses --endpoint /v1/responses {SMALL}"),
    case("embeddings", f"--backend openai-embeddings --endpoint /v1/embeddings {SMALL} {SAVE} --result-filename e.json"),
    case("embeddings in batches", f"--backend openai-embeddings --endpoint /v1/embeddings {SMALL} --random-batch-size 3"),
    case("embeddings with flags of generation", f"--backend openai-embeddings --endpoint /v1/embeddings {SMALL} "
         "--temperature 0.5 --top-p 0.9 --ignore-eos"),
    case("completions in batches", f"--backend vllm {SMALL} --random-batch-size 3"),
    case("numbers of Python in the extra body", f"--backend vllm {SMALL} --extra-body.a 007 --extra-body.b 1_000 "
         "--extra-body.c +5 --extra-body.d -4k"),
    case("chat embeddings", f"--backend openai-embeddings-chat --endpoint /v1/embeddings {SMALL}"),
    case("pooling", f"--backend vllm-pooling --endpoint /pooling {SMALL}"),
    case("rerank", "--backend vllm-rerank --endpoint /v1/rerank --dataset-name random-rerank --random-input-len 64 "
         "--random-batch-size 2 --num-prompts 6"),
    # Files.
    case("sharegpt", f"--backend vllm --dataset-name sharegpt --dataset-path {{sharegpt}} --num-prompts 10 {SAVE} "
         "--result-filename s.json"),
    case("sharegpt, stability", "--backend vllm --dataset-name sharegpt --dataset-path {sharegpt} --num-prompts 12 "
         "--request-rate 60 --burstiness 0.8 --max-concurrency 6 --sharegpt-output-len 5 --seed 1"),
    case("sharegpt, repeated rows", "--backend vllm --dataset-name sharegpt --dataset-path {sharegpt} --num-prompts 60 "
         "--sharegpt-output-len 2 --max-concurrency 16"),
    case("sharegpt, own order", "--backend openai-chat --endpoint /v1/chat/completions --dataset-name sharegpt --dataset-path "
         "{sharegpt} --num-prompts 6 --disable-shuffle --output-len 3"),
    case("custom", "--backend vllm --dataset-name custom --dataset-path {custom} --num-prompts 8 --custom-output-len 4 "
         "--skip-chat-template"),
    case("custom with a template", "--backend vllm --dataset-name custom --dataset-path {custom} --num-prompts 6 "
         "--custom-output-len -1 --tokenizer {chat_tokenizer}"),
    case("custom, all rows", "--backend vllm --dataset-name custom --dataset-path {custom} --num-prompts 0 "
         "--custom-output-len 2 --skip-chat-template --max-concurrency 8"),
    case("spec_bench", "--backend vllm --dataset-name spec_bench --dataset-path {spec_bench} --num-prompts 6 "
         "--spec-bench-output-len 3 --tokenizer {chat_tokenizer}"),
    case("prefix_repetition", "--backend vllm --dataset-name prefix_repetition --prefix-repetition-prefix-len 12 "
         "--prefix-repetition-suffix-len 8 --prefix-repetition-num-prefixes 2 --prefix-repetition-output-len 3 --num-prompts 8"),
    case("burstgpt", "--backend vllm --dataset-name burstgpt --dataset-path {burstgpt} --num-prompts 6 --request-rate 40"),
    case("timed_trace", "--backend vllm --dataset-name timed_trace --dataset-path {timed_trace} --num-prompts 6"),
    case("timed_trace, smaller blocks", "--backend vllm --dataset-name timed_trace --dataset-path {timed_trace} "
         "--num-prompts 20 --timed-trace-chunk-hash-size 7 --timed-trace-sec-multiplier 0.5 --tokenizer {chat_tokenizer}"),
    case("timed_trace, other columns", "--backend vllm --dataset-name timed_trace --dataset-path {mooncake} --num-prompts 5 "
         "--timed-trace-label-timestamp ts --timed-trace-label-input-length in --timed-trace-label-output-length out "
         "--timed-trace-label-hash-ids blocks --timed-trace-sec-multiplier 0.001"),
    case("timed_trace, at a rate", "--backend vllm --dataset-name timed_trace --dataset-path {timed_trace} --num-prompts 6 "
         "--no-self-timed --request-rate 50 --max-concurrency 4"),
    case("images by URL", "--backend openai-chat --endpoint /v1/chat/completions --dataset-name custom_image --dataset-path "
         "{images} --num-prompts 5 --custom-output-len 3"),
    case("random images", f"{MM} --num-prompts 3 --random-mm-bucket-config {{(16,16,1):1.0}}"),
    case("random images of the usual sizes", f"{MM} --num-prompts 3 --seed 5"),
    case("random images, several in a request", [*MM.split(), "--num-prompts", "8", "--random-mm-base-items-per-request", "3",
         "--random-mm-num-mm-items-range-ratio", "0.7", "--random-mm-limit-mm-per-prompt", '{"image": 4, "video": 0}',
         "--random-mm-bucket-config", "{(32, 48, 1): 0.5, (17, 9, 1): 0.3, (64, 64, 16): 0.2}", "--seed", "3"]),
    case("random images, none in some", f"{MM} --num-prompts 8 --random-mm-num-mm-items-range-ratio 1.0 "
         "--random-mm-bucket-config {(24,40,1):2,(40,24,1):1} --random-range-ratio 0.4 --random-prefix-len 5"),
    case("random images, many special tokens", f"{MM} --num-prompts 6 --random-mm-bucket-config {{(8,8,1):1}} "
         "--tokenizer {chat_tokenizer}"),
    case("random images as one message", f"{MM} --num-prompts 3 --random-mm-bucket-config {{(16,16,1):1.0}} "
         "--enable-multimodal-chat"),
    case("refused: images without a limit", [*MM.split(), "--num-prompts", "2", "--random-mm-limit-mm-per-prompt",
         '{"image": 3}'], refused=True),
    case("refused: fewer images than asked for", [*MM.split(), "--num-prompts", "2", "--random-mm-base-items-per-request",
         "3", "--random-mm-limit-mm-per-prompt", '{"image": 2, "video": 0}'], refused=True),
    case("refused: images for completions", "--backend vllm --dataset-name random-mm --num-prompts 2", refused=True),
    case("audio", "--backend openai-audio --endpoint /v1/audio/transcriptions --dataset-name custom_audio --dataset-path "
         f"{{audio}} --num-prompts 5 --custom-output-len 4 {SAVE} --result-filename au.json",
         known=[r"^total_input_tokens: ", r"^input_lens: ", r"^console: only theirs \['Total input tokens"]),
    case("audio in a chat", "--backend openai-chat --endpoint /v1/chat/completions --dataset-name custom_audio --dataset-path "
         "{audio} --num-prompts 5 --custom-output-len -1 --enable-multimodal-chat"),
    case("no tokenizer", "--backend vllm --dataset-name custom --dataset-path {custom} --num-prompts 5 --skip-tokenizer-init "
         "--skip-chat-template --save-result --result-filename n.json"),
    # Around the run, and things that go wrong.
    case("ready check and warm-up", f"--backend vllm {SMALL} --ready-check-timeout-sec 20 --num-warmups 3"),
    case("profiler", f"--backend vllm {SMALL} --profile"),
    case("pytorch form", f"--backend vllm {SMALL} --save-result --result-filename p.json",
         env={"SAVE_TO_PYTORCH_BENCHMARK_FORMAT": "1"}),
    case("speculative decoding", f"--backend vllm {SMALL} --save-result --result-filename d.json", drafts=True),
    case("probes", f"--backend vllm {SMALL} --max-concurrency 2 --probe-request-rate 200 --save-result --result-filename b.json",
         known=[r"^probe_(completed|failed): "]),
    case("no usage", f"--backend vllm {SMALL} {SAVE} --result-filename u.json", tells_usage=False),
    case("a failed request", f"--backend vllm {SMALL} {SAVE} --result-filename f.json", failing=True,
         known=[r"console: only theirs \['Error 0"]),
    # Answers as vLLM's server gives them.
    case("answers that end by themselves", f"--backend vllm {SMALL} --max-concurrency 1 {ALL_METRICS} {SAVE} --result-filename e.json", ends=True,
         timed=True),
    case("chats that end by themselves", f"--backend openai-chat --endpoint /v1/chat/completions {SMALL} --max-concurrency 1 {ALL_METRICS} {SAVE} "
         "--result-filename e.json", ends=True, timed=True),
    case("one token that ends", f"--backend vllm --random-input-len 10 --random-output-len 1 --num-prompts 4 {ALL_METRICS} "
         f"{SAVE} --result-filename o.json", ends=True),
    case("times reported by the server", f"--backend vllm {SMALL} {SAVE} --result-filename t.json", times=True),
    case("times of the server, not saved", f"--backend openai-chat --endpoint /v1/chat/completions {SMALL} --save-result "
         "--result-filename t.json", times=True),
    case("metadata with keys of the result", f"--backend vllm {SMALL} --metadata duration=1 date=x num_prompts=y ttfts=z "
         "burstiness=2 own=3 --save-result --result-filename k.json"),
    # The legacy script, whose datasets of files are those of today. It counts input tokens itself.
    case("legacy: completions", f"--backend vllm {SHAREGPT} {SAVE} --result-filename l.json", legacy=True,
         known=[r"^table: no row 'Total input tokens", r"^total_input_tokens: ", r"^input_lens: "]),
    case("legacy: TGI", f"--backend tgi --endpoint /generate_stream {SHAREGPT} {SAVE} --result-filename l.json", legacy=True),
    case("legacy: TGI to the end", f"--backend tgi --endpoint /generate_stream {SHAREGPT} --ignore-eos", legacy=True),
    case("legacy: TensorRT-LLM", f"--backend tensorrt-llm --endpoint /v2/models/e/generate_stream {SHAREGPT} {SAVE} "
         "--result-filename l.json", legacy=True, other_values={"accumulate_tokens": (True, False)}),
    case("legacy: TensorRT-LLM to the end", f"--backend tensorrt-llm --endpoint /generate_stream {SHAREGPT} --ignore-eos",
         legacy=True, other_values={"accumulate_tokens": (True, False)}),
    case("legacy: DeepSpeed-MII", f"--backend deepspeed-mii {SHAREGPT} {SAVE} --result-filename l.json", legacy=True,
         known=[r"^keys: (mean|median|std|p99)_(ttft|tpot|itl)_ms is missing", r"^table: no row '(Mean|Median|P99) (TTFT|TPOT|ITL)"]),
    # Spellings.
    case("underscores and prefixes", "--backend vllm --random_input_len 24 --random-output-l 6 --num_prompts=8 --max-conc 3 "
         "--burst 2.0 --request-rate=50"),
    case("the last one counts", f"--backend vllm {SMALL} --seed 1 --seed 2 --num-prompts 5"),
    case("options from a file", "--config {config}", known=[r"exit code 2 against 0"]),
    # Both refuse these.
    case("refused: unknown backend", f"--backend nothing {SMALL}", refused=True),
    case("refused: ambiguous option", f"--backend vllm {SMALL} --random 3", refused=True),
    case("refused: no slots", f"--backend vllm {SMALL} --max-concurrency 0", refused=True),
    case("refused: ramp and rate", f"--backend vllm {SMALL} --ramp-up-strategy linear --ramp-up-start-rps 1 "
         "--ramp-up-end-rps 2 --request-rate 3", refused=True),
    case("refused: self-timed random", f"--backend vllm {SMALL} --self-timed", refused=True),
    case("refused: path with random", f"--backend vllm {SMALL} --dataset-path x.json", refused=True),
    case("refused: goodput of itl", f"--backend vllm {SMALL} --goodput itl:5", refused=True),
]

WORDS = """the of and to in a is that for it was on are as with his they at be this from have or by one had not but what all
were when we there can an your which their said if do will each about how up out them then she many some so these would other
into has more her two like him see time could no make than first been its who now people my made over did down only way find
use may water long little very after words called just where most know""".split()


def write_wav(path, rng, rate, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(rng.randint(-30000, 30000).to_bytes(2, "little", signed=True) for _ in range(samples)))


def write_data(folder, tokenizer, chat_tokenizer):
    """Writes the files that the cases read, and returns all names."""
    rng = random.Random(7)
    text = lambda low, high: " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))
    names = {"tokenizer": str(tokenizer), "chat_tokenizer": str(chat_tokenizer)}

    def put(name, file, content):
        path = folder / file
        path.write_text(content)
        names[name] = str(path.absolute())

    turns = lambda n: [{"from": "human" if i % 2 == 0 else "gpt", "value": text(1, 40)} for i in range(n)]
    conversations = [{"id": str(i), "conversations": turns(rng.choice([1, 2, 2, 4]))} for i in range(40)]
    conversations.append({"id": "odd", "conversations": [{"from": "gpt", "value": "Grüße 你好 🙂 \n end"}] * 2})
    put("sharegpt", "sharegpt.json", json.dumps(conversations))
    rows = [{"prompt": text(5, 30), "output_tokens": rng.randint(1, 6)} for _ in range(15)]
    put("custom", "custom.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"question_id": i, "category": "writing", "turns": [text(5, 20), text(3, 5)]} for i in range(12)]
    put("spec_bench", "spec_bench.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"prompt": text(3, 9), "image_files": [f"http://127.0.0.1:1/{i}.png"]} for i in range(8)]
    put("images", "images.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    rows = [f"{i},{rng.choice(['GPT-4', 'ChatGPT'])},{rng.randint(5, 40)},{rng.randint(0, 6)},0,Conversation log" for i in range(60)]
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    put("burstgpt", "burstgpt.csv", "\n".join([header, *rows]) + "\n")
    rows = [{"timestamp": i * 0.04, "input_length": 20, "output_length": 3, "hash_ids": [i // 2, i]} for i in range(12)]
    put("timed_trace", "trace.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"ts": i * 30.5, "in": 40 - i, "out": 2, "blocks": [f"b{i % 3}", i + 0.5, "é", 10**12]} for i in range(6)]
    put("mooncake", "mooncake.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    rows = []
    for number, (rate, seconds) in enumerate([(16000, 0.5), (8000, 1.25), (16000, 0.01), (44100, 0.2), (16000, 2.0)]):
        path = folder / f"sound {number}.wav"
        write_wav(path, rng, rate, int(rate * seconds))
        rows.append({"prompt": text(2, 6), "audio": str(path.absolute()), "output_tokens": number + 1})
    put("audio", "audio.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    put("config", "run.yaml", "backend: vllm\nrandom_input_len: 24\nrandom-output-len: 4\nnum-prompts: 9\nrequest-rate: 40\n"
        "goodput: [ttft:200, tpot:50]\nsave-result: true\nresult-filename: config.json\nignore-eos: false\n")
    return names
