"""Trains the vocabulary of `--tokenizer builtin`.

    python3 make.py TEXT... > merges.txt

Needs `pip install tokenizers`. The texts are plain files of public-domain English (the project's own was made
from Shakespeare's sonnets and plays). A byte-level BPE without surprises: the 256 bytes, then one token for each
line of merges.txt, then three special tokens.
"""

import json
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SIZE = 8189  # with the three special tokens: 8192

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
trainer = trainers.BpeTrainer(
    vocab_size=SIZE, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
)
tokenizer.train(sys.argv[1:], trainer)
for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
    print(left, right)
