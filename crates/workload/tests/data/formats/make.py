"""Makes the small tokenizers of this folder, and `expected.json`: what the formats' own libraries make of the texts.

    pip install transformers==5.19.0 sentencepiece tiktoken mistral-common
    python make.py

The tokenizers are trained on the pages in docs/, so that they carry nobody's rights but ours.
"""

import base64
import json
import pathlib

import sentencepiece
import tiktoken
import tokenizers
import transformers
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

HERE = pathlib.Path(__file__).parent
PAGES = sorted((HERE / "../../../../../docs").resolve().glob("*.md"))
CORPUS = "\n".join(page.read_text() for page in PAGES)[:200_000]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
          r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    "", " ", "a", "Hello, world!", "  two  spaces  and more   ", "line\nbreaks\r\n\r\n and\ttabs",
    "It's 12345 tokens; don't WE'LL see?", "naïve café e\u0301 Ⅷ ½", "日本語のテキスト 中文 한국어", "🎉👩‍👩‍👧 Привет мир",
    "a </s> b<s>c <unk> <|endoftext|>d <|im_end|> [INST] x <extra_id_0>", "def f(x):\n    return x + 1  # comment\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "==================== ---- ....", "\u00a0\u3000wide\u200b spaces",
    "The verdict says when a number must not be trusted.",
]
TEXTS += [CORPUS[at : at + 120] for at in range(1_000, 200_000, 17_000)]


def write(folder, name, content):
    (HERE / folder).mkdir(exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (HERE / folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def train_sentencepiece(folder, name, **options):
    path = HERE / folder / name
    path.parent.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split("\n")), model_writer=path.open("wb"), minloglevel=2, **options)


def byte_level():
    """Tokens as bytes in order of rank, and the merges of a byte-level BPE."""
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator([CORPUS], vocab_size=700)
    state = json.loads(trained.to_str())["model"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte = {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}
    ordered = sorted(state["vocab"], key=state["vocab"].get)
    return state, [bytes(byte[symbol] for symbol in token) for token in ordered]


def main():
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    bpe = dict(model_type="bpe", vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False,
               normalization_rule_name="identity")
    train_sentencepiece("llama", "tokenizer.model", **bpe)
    write("llama", "tokenizer_config.json",
          {**config, "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": True})
    train_sentencepiece("plain_bpe", "tokenizer.model", **bpe)
    # A few rules: those of NFKC take 230 KB.
    rules = HERE / "rules.tsv"
    rules.write_text("".join(f"{ord(a):X}\t{ord(b):X}\n" for a, b in ["\u00a0 ", "\u3000 ", "\u2167V", "\t "]))
    unigram = dict(model_type="unigram", vocab_size=500, normalization_rule_tsv=str(rules))
    train_sentencepiece("t5", "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **unigram)
    write("t5", "tokenizer_config.json",
          {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "tokenizer_class": "T5Tokenizer"})
    train_sentencepiece("plain_unigram", "tokenizer.model", **unigram)
    state, ranks = byte_level()
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["merges"]]
    write("gpt2", "vocab.json", {**state["vocab"], "<|endoftext|>": len(state["vocab"])})
    write("gpt2", "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    write("gpt2", "config.json", {"model_type": "gpt2"})
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
    write("qwen", "qwen.tiktoken", "".join(lines))
    write("qwen", "tokenizer_config.json", {"tokenizer_class": "QWenTokenizer"})
    single = [bytes([byte]) for byte in range(256)]
    tokens = single + [token for token in ranks if len(token) > 1]
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
             for rank, token in enumerate(tokens)]
    sizes = {"num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab), "default_num_special_tokens": 100}
    write("tekken", "tekken.json", {"config": {"pattern": TEKKEN, "version": "v3", **sizes}, "vocab": vocab})

    rules.unlink()

    expected = {}
    for folder in ["gpt2", "llama", "t5"]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(HERE / folder)
        plain = [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
        expected[folder] = {"special": len(tokenizer("a").input_ids) - len(plain[2]), "ids": plain}
    for folder in ["plain_bpe", "plain_unigram"]:
        model = sentencepiece.SentencePieceProcessor(model_file=str(HERE / folder / "tokenizer.model"))
        expected[folder] = {"special": 0, "ids": [model.encode(text) for text in TEXTS]}
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special = {name: len(ranks) + n for n, name in enumerate(names)}
    mergeable = {token: rank for rank, token in enumerate(ranks)}
    encoding = tiktoken.Encoding("qwen", pat_str=QWEN, mergeable_ranks=mergeable, special_tokens=special)
    import unicodedata
    normal = [unicodedata.normalize("NFC", text) for text in TEXTS]
    expected["qwen"] = {"special": 0, "ids": [encoding.encode(text, allowed_special="all") for text in normal]}
    tekken = Tekkenizer.from_file(HERE / "tekken" / "tekken.json")
    expected["tekken"] = {"special": 1, "ids": [tekken.encode(text, bos=False, eos=False) for text in TEXTS]}
    write(".", "expected.json", json.dumps({"texts": TEXTS, "tokenizers": expected}, ensure_ascii=False))


main()
