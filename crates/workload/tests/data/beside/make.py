"""Writes the tokenizers and expected.json: what transformers makes of a tokenizer.json and the files beside it.
Made with transformers 5.19.0 and tokenizers 0.23.3; run in this folder."""

import json
import pathlib
import tempfile

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
FORMATS = pathlib.Path("../formats")
TEXTS = ["Hello world 12345", " lead", "two\n\nlines\t x", "a<EXTRA> b <EXTRA>c", "foo<NEW>bar <NEW> baz", "don't  DON'T",
         "naïve Café 日本語🙂", "</s> <s>x</s> <unk>", "<|endoftext|>x<|endoftext|>", "abc [MASK] def [SEP]", ""]


def byte_level():
    vocab = json.loads((FORMATS / "gpt2/vocab.json").read_text())
    merges = [tuple(line.split()) for line in (FORMATS / "gpt2/merges.txt").read_text().splitlines()
              if line and not line.startswith("#version")]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return made


def metaspace():
    symbols = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["▁Hello", "▁world", "▁lead", "▁two", "lines", "▁b", "▁x", "▁baz", "▁def", "▁DON", "foo", "bar", "abc", "▁▁"]
    merges = []
    known = dict.fromkeys(symbols)
    for word in words:
        known.update(dict.fromkeys(word))
    known.update(dict.fromkeys("abcdefghijklmnopqrstuvwxyzADHLNOST12345<>[]|/'▁"))
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in known:
                merges.append((word[:end - 1], word[end - 1]))
                known[word[:end]] = None
    made = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(known)}, merges=merges, unk_token="<unk>",
                                fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def word_piece():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("abcdefghijklmnopqrstuvwxyzCDH'<>/|12345")
    tokens += ["##" + letter for letter in "abcdefghijklmnopqrstuvwxyz12345"] + ["hello", "Hello", "world", "cafe", "naive"]
    made = Tokenizer(models.WordPiece({token: at for at, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


def listed(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": True, **flags}


CONFIG = "tokenizer_config.json"
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
CASES = [
    ("byte_level", {CONFIG: FAST}),
    ("byte_level", {}),
    ("byte_level", {CONFIG: {"tokenizer_class": "GPT2Tokenizer"}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "GPT2Tokenizer"}, "config.json": {"model_type": "llama"}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "GPT2Tokenizer"}, "config.json": {"model_type": "mistral"}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "LlamaTokenizerFast"}, "config.json": {"model_type": "qwen2"}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "Qwen2Tokenizer"}}),
    ("byte_level", {CONFIG: {}, "config.json": {"model_type": "gpt2"}}),
    ("byte_level", {CONFIG: {**FAST, "added_tokens_decoder": {
        "900": listed("<EXTRA>", lstrip=True, rstrip=True),
        "901": listed("<NEW>", single_word=True, normalized=True, special=False)}}}),
    ("byte_level", {CONFIG: {**FAST, "extra_special_tokens": ["<EXTRA>", "<NEW>"]}}),
    ("byte_level", {CONFIG: {**FAST, "extra_special_tokens": {"foo_token": "<EXTRA>"}}}),
    ("byte_level", {CONFIG: {**FAST, "additional_special_tokens": ["<EXTRA>"]}}),
    ("byte_level", {CONFIG: {**FAST, "additional_special_tokens": ["<EXTRA>"], "extra_special_tokens": ["<NEW>"]}}),
    ("byte_level", {CONFIG: {**FAST, "pad_token": "<NEW>", "image_token": "<EXTRA>"}}),
    ("byte_level", {CONFIG: {**FAST, "split_special_tokens": True}}),
    ("byte_level", {CONFIG: FAST, "special_tokens_map.json": {"additional_special_tokens": ["<EXTRA>"],
                                                              "eos_token": listed("<NEW>", lstrip=True)}}),
    ("byte_level", {CONFIG: {**FAST, "added_tokens_decoder": {}},
                    "special_tokens_map.json": {"additional_special_tokens": ["<EXTRA>"]}}),
    ("byte_level", {CONFIG: FAST, "added_tokens.json": {"<NEW>": 901, "<EXTRA>": 900}}),
    ("byte_level", {CONFIG: {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"900": listed("<NEW>")}}}),
    ("metaspace", {CONFIG: FAST}),
    ("metaspace", {CONFIG: {"tokenizer_class": "LlamaTokenizer"}}),
    ("metaspace", {CONFIG: {"tokenizer_class": "LlamaTokenizer", "legacy": True}, "config.json": {"model_type": "llama"}}),
    ("metaspace", {CONFIG: {"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": False}}),
    ("metaspace", {CONFIG: {"tokenizer_class": "LlamaTokenizer"}, "config.json": {"model_type": "mistral"}}),
    ("metaspace", {CONFIG: {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": {
        "0": listed("<unk>"), "1": listed("<s>"), "2": listed("</s>", normalized=True)}}}),
    ("word_piece", {CONFIG: {"tokenizer_class": "BertTokenizer"}}),
    ("word_piece", {CONFIG: {"tokenizer_class": "BertTokenizer", "do_lower_case": False}}),
    ("word_piece", {CONFIG: {"tokenizer_class": "BertTokenizerFast", "strip_accents": False}}),
    ("word_piece", {CONFIG: {**FAST, "do_lower_case": False}}),
    ("word_piece", {CONFIG: {}, "config.json": {"model_type": "bert"}}),
]


def ids(name, files):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "tokenizer.json").write_text(pathlib.Path(f"{name}.json").read_text())
        for file, content in files.items():
            (folder / file).write_text(json.dumps(content))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return {"tokenizer": name, "files": files, "special": tokenizer.num_special_tokens_to_add(),
                "ids": [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]}


for make in (byte_level, metaspace, word_piece):
    pathlib.Path(f"{make.__name__}.json").write_text(make().to_str())
cases = [ids(name, files) for name, files in CASES]
lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
pathlib.Path("expected.json").write_text(f'{{"texts": {json.dumps(TEXTS, ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n')
