"""A real llama.cpp server for tests: a tiny model of random weights with inferometer's built-in vocabulary.

    python3 llamacpp.py MERGES.txt MODEL.gguf

Makes the model file if it is not there, serves it on a free port of 127.0.0.1, and prints the URL. Needs the
packages xllamacpp (llama.cpp's own HTTP server), gguf and numpy. Ends when its standard input is closed.
"""
import os
import socket
import sys

import gguf
import numpy
import xllamacpp

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 2, 128, 2048


def byte_symbols():
    """The printable characters that stand for the 256 bytes in byte-level vocabularies, sorted."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return sorted([chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))])


def write_model(merges_file, path):
    merges = open(merges_file, encoding="utf8").read().splitlines()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = byte_symbols() + [merge.replace(" ", "") for merge in merges] + special
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(special)) + [gguf.TokenType.CONTROL] * len(special)
    end = len(tokens) - len(special)
    model = gguf.GGUFWriter(path, "llama")
    model.add_name("tiny-random")
    model.add_context_length(CONTEXT)
    model.add_embedding_length(WIDTH)
    model.add_block_count(LAYERS)
    model.add_feed_forward_length(INNER)
    model.add_head_count(HEADS)
    model.add_head_count_kv(HEADS)
    model.add_rope_dimension_count(WIDTH // HEADS)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_vocab_size(len(tokens))
    model.add_file_type(0)
    model.add_tokenizer_model("gpt2")
    model.add_tokenizer_pre("smollm")
    model.add_token_list(tokens)
    model.add_token_types(kinds)
    model.add_token_merges(merges)
    model.add_eos_token_id(end)
    model.add_add_bos_token(False)
    model.add_chat_template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )
    random = numpy.random.default_rng(1)

    def matrix(name, rows, columns):
        weights = random.standard_normal((rows, columns)) / numpy.sqrt(columns)
        model.add_tensor(name + ".weight", weights.astype(numpy.float32))

    def ones(name):
        model.add_tensor(name + ".weight", numpy.ones(WIDTH, dtype=numpy.float32))

    matrix("token_embd", len(tokens), WIDTH)
    matrix("output", len(tokens), WIDTH)
    ones("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        ones(block + "attn_norm")
        ones(block + "ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(block + part, WIDTH, WIDTH)
        matrix(block + "ffn_gate", INNER, WIDTH)
        matrix(block + "ffn_up", INNER, WIDTH)
        matrix(block + "ffn_down", WIDTH, INNER)
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()


def main():
    merges, path = sys.argv[1:3]
    if not os.path.exists(path):
        write_model(merges, path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {"tiny"}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = 4, 4 * CONTEXT
    # With more threads than free processors they spin against one another.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


main()
