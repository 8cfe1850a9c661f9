"""Makes the golden samples of this folder with NumPy, Python's `random` and the Hugging Face `tokenizers` package.

    pip install numpy tokenizers jinja2
    python3 make.py

It follows the sampling rules of vLLM 0.33 as described in the project's documentation, and shares no code with the
Rust program: what both give for the same seed must be equal byte for byte.
"""

import hashlib
import json
import math
import random
from pathlib import Path

import jinja2
import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
SONNET = HERE / "../../data/sonnet.txt"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Tok:
    """The part of AutoTokenizer that the sampling rules use."""

    def __init__(self, inner, special):
        self.inner = inner
        self.vocab_size = inner.get_vocab_size(with_added_tokens=False)
        self.special_ids = [inner.token_to_id(token) for token in special]
        self.around = inner.num_special_tokens_to_add(False)

    def encode(self, text, special):
        return self.inner.encode(text, add_special_tokens=special).ids

    def decode(self, ids):
        return self.inner.decode(ids, skip_special_tokens=False)

    def template(self, prompt):
        messages = [{"role": "user", "content": prompt}]
        return jinja2.Template(TEMPLATE).render(messages=messages, add_generation_prompt=True)


def builtin():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(line.split(" ")) for line in (HERE / "../../data/builtin/merges.txt").read_text().splitlines()]
    vocab = {token: at for at, token in enumerate(alphabet + [a + b for a, b in merges] + SPECIAL)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    return Tok(inner, SPECIAL)


def underscores():
    """In the style of SentencePiece: `▁`, byte fallback, a token in front of every text."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    lines = SONNET.read_text().splitlines()
    inner.train_from_iterator((f"▁{word}" for line in lines for word in line.split()), trainer)
    data = json.loads(inner.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    inner = Tokenizer.from_str(json.dumps(data))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", inner.token_to_id("<s>"))]
    )
    save("underscores", inner, ["<unk>", "<s>", "</s>"])
    return Tok(inner, ["<unk>", "<s>", "</s>"])


def wordpiece():
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    inner.train([str(SONNET)], trainers.WordPieceTrainer(vocab_size=1200, special_tokens=special, show_progress=False))
    inner.decoder = decoders.WordPiece()
    ids = [(token, inner.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ids
    )
    save("wordpiece", inner, special)
    return Tok(inner, special)


def save(name, inner, special):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(inner.to_str())
    config = {"additional_special_tokens": special, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def to_length(tok, ids, wanted, draw):
    tries = 10
    while True:
        text = tok.decode(ids)
        ids = tok.encode(text, False)
        if tries <= 0 or len(ids) == wanted:
            return text, ids
        ids = ids + draw(wanted - len(ids)) if len(ids) < wanted else ids[:wanted]
        tries -= 1


def sample_random(tok, seed, n, args):
    rng = np.random.default_rng(seed)
    ratio = args["range_ratio"]
    real = max(0, args["input_len"] - tok.around)

    def lengths(low, high):
        return rng.integers(low, high + 1, size=n).tolist()

    inputs = lengths(math.floor(real * (1 - ratio)), math.ceil(real * (1 + ratio)))
    out = args["output_len"]
    outputs = lengths(max(1, math.floor(out * (1 - ratio))), max(1, math.ceil(out * (1 + ratio))))
    offsets = rng.integers(0, tok.vocab_size, size=n).tolist()
    allowed = sorted(set(range(tok.vocab_size)) - set(tok.special_ids))

    def draw(k):
        return rng.integers(0, tok.vocab_size, size=k).tolist()

    prefix = []
    if args["prefix_len"] > 0:
        prefix = [allowed[at] for at in rng.integers(0, len(allowed), size=args["prefix_len"])]
        prefix = to_length(tok, prefix, args["prefix_len"], draw)[1]
    for at in range(n):
        inner = [allowed[(offsets[at] + at + step) % len(allowed)] for step in range(inputs[at])]
        text, ids = to_length(tok, prefix + inner, len(prefix) + inputs[at], draw)
        yield text, len(ids), outputs[at]


def sample_prefix_repetition(tok, seed, n, args):
    np.random.seed(seed)
    random.seed(seed)

    def draw(k):
        return np.random.randint(0, tok.vocab_size, size=k).tolist()

    requests = []
    for _ in range(args["num_prefixes"]):
        prefix = to_length(tok, draw(args["prefix_len"]), args["prefix_len"], draw)[1]
        for _ in range(n // args["num_prefixes"]):
            suffix = to_length(tok, draw(args["suffix_len"]), args["suffix_len"], draw)[1]
            ids = prefix + suffix
            requests.append((tok.decode(ids), len(ids), args["output_len"]))
    random.shuffle(requests)
    return requests


def oversample(requests, n, seed):
    random.seed(seed)
    kept = list(requests)
    return kept + [random.choice(kept) for _ in range(n - len(kept))]


def sample_sharegpt(tok, seed, n, args):
    rows = json.loads((HERE / "sharegpt.json").read_text())
    rows = [row for row in rows if len(row.get("conversations", [])) >= 2]
    random.seed(seed)
    random.shuffle(rows)
    requests = []
    for row in rows:
        if len(requests) == n:
            break
        prompt, answer = (row["conversations"][at]["value"] for at in (0, 1))
        length = len(tok.encode(prompt, True))
        output = args.get("output_len") or len(tok.encode(answer, True))
        if length >= 4 and (args.get("output_len") or output >= 4) and length <= 1024 and length + output <= 2048:
            requests.append((prompt, length, output))
    return oversample(requests, n, seed)


def sample_custom(tok, seed, n, args):
    rows = [json.loads(line) for line in (HERE / "custom.jsonl").read_text().splitlines()]
    random.seed(seed)
    random.shuffle(rows)
    requests = []
    for row in rows[:n]:
        text = row["prompt"] if args["skip_chat_template"] else tok.template(row["prompt"])
        output = row["output_tokens"] if args["output_len"] == -1 else args["output_len"]
        requests.append((text, len(tok.encode(text, True)), output))
    return oversample(requests, n, seed)


def sample_sonnet(tok, seed, n, args):
    lines = SONNET.read_text().splitlines(keepends=True)
    mean = sum(len(tok.encode(line, True)) for line in lines) / len(lines)
    base = "Pick as many lines as you can from these poem lines:\n"
    offset = len(tok.encode(tok.template(base), True))
    input_lines = max(round((args["input_len"] - offset) / mean), 1)
    prefix_lines = max(round((args["prefix_len"] - offset) / mean), 0)
    random.seed(seed)
    requests = []
    while len(requests) < n:
        extra = random.choices(lines, k=input_lines - prefix_lines)
        text = tok.template(base + "".join(lines[:prefix_lines] + extra))
        length = len(tok.encode(text, True))
        if length <= args["input_len"]:
            requests.append((text, length, args["output_len"]))
    return requests


def inputs():
    """Small datasets from the sonnets."""
    rng = random.Random(7)
    lines = SONNET.read_text().splitlines()

    def speech(least, most):
        start = rng.randrange(len(lines) - most)
        return "\n".join(lines[start : start + rng.randint(least, most)])

    rows = []
    for at in range(40):
        turns = [{"from": "human" if turn % 2 == 0 else "gpt", "value": speech(1, 12)} for turn in range(at % 5)]
        rows.append({"id": f"c{at}", "conversations": turns})
    rows[3]["conversations"][0]["value"] = "Hm"
    (HERE / "sharegpt.json").write_text(json.dumps(rows, indent=0, ensure_ascii=False))
    with (HERE / "custom.jsonl").open("w") as out:
        for _ in range(20):
            out.write(json.dumps({"prompt": speech(1, 6), "output_tokens": rng.randint(1, 200)}) + "\n")


RUNS = [
    ("random", sample_random, {"input_len": 40, "output_len": 12, "prefix_len": 0, "range_ratio": 0.0}),
    ("random", sample_random, {"input_len": 60, "output_len": 30, "prefix_len": 9, "range_ratio": 0.4}),
    ("sharegpt", sample_sharegpt, {}),
    ("sharegpt", sample_sharegpt, {"output_len": 17}),
    ("custom", sample_custom, {"output_len": -1, "skip_chat_template": False}),
    ("custom", sample_custom, {"output_len": 99, "skip_chat_template": True}),
    ("sonnet", sample_sonnet, {"input_len": 300, "output_len": 150, "prefix_len": 120}),
    (
        "prefix_repetition",
        sample_prefix_repetition,
        {"prefix_len": 20, "suffix_len": 15, "num_prefixes": 3, "output_len": 8},
    ),
]


def main():
    inputs()
    tokenizers = {"builtin": builtin(), "underscores": underscores(), "wordpiece": wordpiece()}
    with (HERE / "golden.jsonl").open("w") as out:
        for name, tok in tokenizers.items():
            for dataset, sample, args in RUNS:
                for seed in (0, 1, 4_000_000_007):
                    n = 25
                    requests = list(sample(tok, seed, n, args))
                    rows = [[length, output] for _, length, output in requests]
                    digest = hashlib.sha256("\0".join(text for text, _, _ in requests).encode()).hexdigest()
                    line = {"tokenizer": name, "dataset": dataset, "args": args, "seed": seed, "n": n}
                    out.write(json.dumps(line | {"lengths": rows, "prompts_sha256": digest}) + "\n")


main()
