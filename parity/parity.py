#!/usr/bin/env python3
"""Runs the real `vllm bench serve` and inferometer with the same arguments against the same server, and compares
what they send, when they send it, what they print and what they write. See README.md."""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cases import CASES, write_data

# Lines that one side alone prints, each with its reason (see docs/compatibility.md).
ONLY_VLLM = [
    (r"^\(\w+ pid=\d+\) ", "a line of its log"),
    (r"^tip: install termplotlib", "an advice that has no effect here"),
]
# Keys of the result whose values depend on the clock.
TIMED = re.compile(
    r"^(date|duration|.*throughput|request_goodput|ttfts|itls|latencies|start_times|queue_times"
    r"|max_output_tokens_per_s|max_concurrent_requests|rtfx|(mean|median|std|p[0-9.]+)_.*_ms|rps_change_events"
    r"|server_.*|probe_.*_ms)$"
)
# Rows of the table whose values do not depend on the clock.
STEADY = {
    "Successful requests:",
    "Failed requests:",
    "Maximum request concurrency:",
    "Request rate configured (RPS):",
    "Total input tokens:",
    "Total generated tokens:",
    "Acceptance rate (%):",
    "Acceptance length:",
    "Drafts:",
    "Draft tokens:",
    "Accepted tokens:",
}


# A case that differs in its times alone is run again: either client may have had to wait for a processor.
ATTEMPTS = 3
OF_THE_CLOCK = re.compile(r"arrivals are up to|another order|(median_tpot_ms|median_itl_ms|after the first token): ")


class Recorder(ThreadingHTTPServer):
    """Answers like an inference server, and keeps every request with the instant of its arrival."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A client that hangs up is no news."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self):
        with self.lock:
            asked, self.asked = self.asked, []
        return asked


def boundary(content_type):
    found = re.search(r'boundary="?([^";]+)', content_type)
    return found[1].encode() if found else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            models = [{"id": "served-model", "root": self.server.root}, {"id": "parity-model"}]
            self.reply(200, {"data": models})
        elif self.path == "/metrics" and self.server.drafts:
            done = sum(request["path"].endswith("completions") for request in self.server.asked)
            counts = {"num_drafts": done, "num_draft_tokens": 3 * done, "num_accepted_tokens": 2 * done}
            lines = [f"vllm:spec_decode_{name}_total{{engine=\"0\"}} {count}.0" for name, count in counts.items()]
            for position, count in enumerate((done, done, 0)):
                name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
                lines.append(f"{name}{{engine=\"0\",position=\"{position}\"}} {count}.0")
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.reply(404, {})

    def do_POST(self):
        at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.asked.append(
                {
                    "at": at,
                    "path": self.path,
                    "id": self.headers.get("x-request-id"),
                    "type": self.headers.get("Content-Type", "").split(";")[0],
                    "boundary": boundary(self.headers.get("Content-Type", "")),
                    "extra": self.headers.get("x-parity"),
                    "key": self.headers.get("Authorization"),
                    "body": body,
                }
            )
        if self.path in ("/start_profile", "/stop_profile"):
            return self.reply(200, {})
        if self.path == "/tokenize" and self.server.tokenizes:
            count = json.loads(body)["prompt"].count(" ") * 3 + 40
            return self.reply(200, {"tokens": list(range(count))})
        if self.path == "/detokenize" and self.server.tokenizes:
            return self.reply(200, {"prompt": f"{len(json.loads(body)['tokens'])} tokens, cut"})
        if self.path in ("/tokenize", "/detokenize"):
            return self.reply(404, {})
        if self.path.endswith(("embeddings", "pooling", "rerank")):
            time.sleep(0.003)
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            data = [{"index": 0, "embedding": [0.5, 0.25], "data": [0.5]}]
            ranks = [{"index": 0, "relevance_score": 0.5}]
            return self.reply(200, {"object": "list", "data": data, "results": ranks, "usage": usage})
        if self.path.endswith(("transcriptions", "translations")):
            return self.stream({"max_tokens": 4})
        fields = json.loads(body)
        if "stream" not in fields and not self.path.endswith("generate_stream") and "prompt" in fields:
            # DeepSpeed-MII.
            return self.reply(200, {"choices": [{"text": " a" * fields["max_tokens"]}]})
        if fields.get("fail") or (self.server.failing and self.headers.get("x-request-id", "").endswith("1")):
            return self.reply(500, {"error": "as asked"})
        self.stream(fields)

    def stream(self, fields):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        time.sleep(self.server.step or 0.004)
        for event in self.events(fields):
            data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            time.sleep(self.server.step or 0.001)
        self.wfile.write(b"0\r\n\r\n")

    def events(self, fields):
        if self.path.endswith("generate_stream"):
            yield from generated(fields)
            return
        count = fields.get("max_tokens") or fields.get("max_completion_tokens") or fields.get("max_output_tokens") or 1
        asked = fields.get("prompt") or fields.get("messages") or fields.get("input") or "an audio file"
        prompt = len(asked if isinstance(asked, list) else str(asked))
        usage = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
        if self.path.endswith("/responses"):
            for _ in range(count):
                yield {"type": "response.output_text.delta", "delta": " a"}
            done = {"output_tokens": count, "input_tokens": prompt}
            yield {"type": "response.completed", "response": {"usage": done}}
            return
        chat = self.path.endswith(("chat/completions", "transcriptions", "translations"))
        wrap = (lambda text: {"delta": {"content": text}}) if chat else (lambda text: {"text": text})
        if self.path.endswith("chat/completions"):
            yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        for _ in range(count - self.server.ends):
            yield {"choices": [{"index": 0, **wrap(" a"), "finish_reason": None}]}
        if self.server.ends:
            # As vLLM's server does at the end-of-text token: a message of its own, one step later, whose token
            # is in the usage and whose text is empty.
            yield {"choices": [{"index": 0, **wrap(""), "finish_reason": "stop"}]}
        if self.server.tells_usage:
            last = {"choices": [], "usage": usage}
            if self.server.times:
                last["metrics"] = {"queue_time_ms": 1.5, "time_to_first_token_ms": 3.25}
            yield last
        yield "[DONE]"


def generated(fields):
    """TGI's and TensorRT-LLM's events, each with one token."""
    if "inputs" not in fields:
        for _ in range(fields["max_tokens"]):
            yield {"text_output": " a"}
        return
    count = fields["parameters"]["max_new_tokens"]
    for number in range(1, count + 1):
        token = {"id": 9, "text": " a", "logprob": -0.5, "special": False}
        yield {"index": number, "token": token, "generated_text": " a" * count if number == count else None}


DRIVER = """
import importlib, json, os, runpy, sys, types
sys.argv = ["vllm"]
from vllm.entrypoints.cli.main import main
import vllm.benchmarks.serve
import vllm.benchmarks.datasets.datasets as datasets

def legacy(folder, arguments):
    # What benchmark_serving.py of 0.10 imports from vLLM and newer versions have elsewhere.
    for name, members in (
        ("vllm.lora.request", ["LoRARequest"]),
        ("vllm.lora.utils", ["get_adapter_absolute_path"]),
        ("vllm.multimodal", ["MultiModalDataDict"]),
        ("vllm.multimodal.image", ["convert_image_mode"]),
        ("vllm.transformers_utils.tokenizer", ["AnyTokenizer", "get_lora_tokenizer", "get_tokenizer"]),
    ):
        try:
            module = importlib.import_module(name)
        except ImportError:
            module = sys.modules[name] = types.ModuleType(name)
        for member in members:
            if not hasattr(module, member):
                setattr(module, member, getattr(datasets, member, None))
    sys.path.insert(0, folder)
    import backend_request_func
    sys.modules["vllm.transformers_utils.tokenizer"].get_tokenizer = backend_request_func.get_tokenizer
    sys.argv = ["benchmark_serving.py", *arguments]
    runpy.run_path(os.path.join(folder, "benchmark_serving.py"), run_name="__main__")

print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(job["folder"])
        os.dup2(os.open(job["stdout"], os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(job["stderr"], os.O_WRONLY | os.O_CREAT), 2)
        os.environ.update(job["env"])
        code = 1
        try:
            if job["legacy"]:
                legacy(job["legacy"], job["arguments"])
            else:
                sys.argv = ["vllm", "bench", "serve", *job["arguments"]]
                main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Vllm:
    """The real client. Loading it takes much longer than a run, so it is loaded once and forked for each."""

    def __init__(self, command):
        with open(command, encoding="utf-8") as script:
            python = script.readline().removeprefix("#!").strip()
        self.process = subprocess.Popen(
            [python, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"},
        )
        while True:
            line = self.process.stdout.readline()
            if line.strip() == "ready":
                break
            if not line:
                sys.exit(f"{command}: the client does not load")

    def run(self, arguments, folder, env, legacy=None):
        job = {"arguments": arguments, "folder": str(folder), "env": env, "legacy": legacy and str(legacy)}
        job |= {name: str(folder / name) for name in ("stdout", "stderr")}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        while not re.fullmatch(r"-?\d+", line := self.process.stdout.readline().strip()):
            if not line and self.process.poll() is not None:
                sys.exit("the real client went away")
        return int(line)


def run_ours(binary, arguments, folder, env):
    with open(folder / "stdout", "w") as out, open(folder / "stderr", "w") as err:
        command = [binary, "bench", "serve", *arguments]
        return subprocess.run(command, cwd=folder, stdout=out, stderr=err, env={**os.environ, **env}).returncode


def index_of(request):
    digits = re.search(r"(\d+)$", request["id"] or "")
    return int(digits[1]) if digits else None


def measured(asked):
    """The requests of the run itself in order, and the others."""
    with_id = [request for request in asked if request["id"] is not None]
    errands = ("/tokenize", "/detokenize", "/start_profile", "/stop_profile")
    rest = [request for request in asked if request["id"] is None]
    if not with_id:
        return [request for request in rest if request["path"] not in errands], [
            request for request in rest if request["path"] in errands
        ]
    return with_id, rest


def comparable(case, request, side):
    """The body without what is free: the boundary of a form, and for the legacy script the order of keys."""
    body = request["body"]
    if request["boundary"]:
        body = body.replace(request["boundary"], b"BOUNDARY")
    elif case.legacy:
        fields = json.loads(body)
        for name, values in case.other_values.items():
            if fields.get(name) == values[side]:
                fields[name] = values[0]
        body = json.dumps(fields, sort_keys=True).encode()
    return body


def compare_requests(case, theirs, ours, tolerance):
    if case.legacy:
        # The script sends no ids.
        for request in (*theirs, *ours):
            request["id"] = None
    them, their_rest = measured(theirs)
    us, our_rest = measured(ours)
    if len(them) != len(us):
        yield f"{len(them)} requests against {len(us)}"
        return
    line = " ".join(case.arguments)
    paced = any(flag in line for flag in ("--request-rate", "--ramp-up", "timed_trace")) and "-rate inf" not in line
    if paced and [r["id"] for r in them] != [r["id"] for r in us]:
        early = [(index_of(a), index_of(b)) for a, b in zip(them, us) if a["id"] != b["id"]]
        # Requests that are due within a few ms of one another may change places on a busy machine.
        if any(abs(a - b) > 2 for a, b in early if a is not None and b is not None):
            yield f"another order: {early[:5]}"
    for side, requests in enumerate((them, us)):
        for request in requests:
            request["body"] = comparable(case, request, side)
    key = (lambda r: index_of(r)) if index_of(them[0]) is not None else (lambda r: r["body"])
    them, us = sorted(them, key=key), sorted(us, key=key)
    for a, b in zip(them, us):
        for field in ("path", "id", "type", "extra"):
            if a[field] != b[field]:
                yield f"request {a['id']}: {field} {a[field]!r} against {b[field]!r}"
                return
        if a["body"] != b["body"]:
            at = next((i for i, (x, y) in enumerate(zip(a["body"], b["body"])) if x != y), 0)
            span = slice(max(at - 60, 0), at + 60)
            yield f"request {a['id']}: body differs at byte {at}: {a['body'][span]!r} against {b['body'][span]!r}"
            return
    if paced and not case.capped:
        start_a, start_b = min(r["at"] for r in them), min(r["at"] for r in us)
        off = max(abs((a["at"] - start_a) - (b["at"] - start_b)) for a, b in zip(them, us))
        if off > tolerance:
            yield f"arrivals are up to {off * 1000:.0f} ms apart"
    # How many probes fit into a run depends on the clock.
    gather = set if "--probe-request-rate" in line else list
    kinds = lambda rest: sorted(gather((r["path"], r["body"]) for r in rest if r["path"] not in ("/tokenize", "/detokenize")))
    if kinds(their_rest) != kinds(our_rest):
        paths = [[r["path"] for r in rest] for rest in (their_rest, our_rest)]
        yield f"requests around the run differ: {paths[0]} against {paths[1]}"


def lines_of(folder, until_table_end):
    text = (folder / "stdout").read_text(errors="replace").splitlines()
    if until_table_end and "=" * 50 in text:
        after = text[text.index("=" * 50) + 1 :]
        text = text[: text.index("=" * 50) + 1] + [line for line in after if "profiler" in line.lower()]
    kept = []
    for line in text:
        if any(re.search(pattern, line) for pattern, _ in ONLY_VLLM):
            continue
        row = re.fullmatch(r"(.{40}) (\S+\s*)", line)
        if row and row[1].strip() not in STEADY:
            line = f"{row[1]} *{len(row[2]) >= 10}"
        kept.append(re.sub(r"^Namespace\(.*", "Namespace(…)", line))
    return kept


def namespace_of(folder):
    text = (folder / "stdout").read_text(errors="replace")
    found = re.search(r"^Namespace\((.*)\)$", text, re.M)
    pairs = re.findall(r"(\w+)=((?:\{[^}]*\}|\[[^\]]*\]|'[^']*'|<[^>]*>|\w+\(.*?\)|[^,])*)", found[1] if found else "")
    return dict(pairs)


def compare_console(theirs, ours):
    them, us = lines_of(theirs, False), lines_of(ours, True)
    if them != us:
        only_them = [line for line in them if line not in us]
        only_us = [line for line in us if line not in them]
        yield f"console: only theirs {only_them[:6]}, only ours {only_us[:6]}" if only_them or only_us else "console: order"
    them, us = namespace_of(theirs), namespace_of(ours)
    for name in ("dispatch_function", "log_config_file", "logging_config", "result_dir", "endpoint"):
        them.pop(name, None)
        us.pop(name, None)
    for name in sorted(set(them) | set(us)):
        if them.get(name) != us.get(name):
            yield f"Namespace: {name} {them.get(name)} against {us.get(name)}"


def kind(value):
    if isinstance(value, list):
        return ("list", kind(value[0]) if value else None)
    return type(value).__name__


def results_of(folder):
    return sorted(path for path in folder.rglob("*.json*") if not path.name.startswith("."))


def compare_results(theirs, ours):
    them, us = results_of(theirs), results_of(ours)
    masked = lambda files, of: [re.sub(r"\d{8}-\d{6}", "DATE", str(path.relative_to(of))) for path in files]
    if masked(them, theirs) != masked(us, ours):
        yield f"files: {masked(them, theirs)} against {masked(us, ours)}"
        return
    for a, b in zip(them, us):
        if a.name.endswith(".pytorch.json"):
            a, b = json.loads(a.read_text()), json.loads(b.read_text())
            if [r["metric"]["name"] for r in a] != [r["metric"]["name"] for r in b] or a[0].keys() != b[0].keys():
                yield "pytorch form: other records"
            continue
        for line_a, line_b in zip(a.read_text().splitlines(), b.read_text().splitlines()):
            yield from compare_result(json.loads(line_a), json.loads(line_b))


def compare_result(a, b):
    b.pop("inferometer", None)
    if list(a) != list(b):
        yield f"keys: only theirs {[k for k in a if k not in b]}, only ours {[k for k in b if k not in a]}, or order"
        return
    for key in a:
        if kind(a[key]) != kind(b[key]):
            yield f"{key}: type {kind(a[key])} against {kind(b[key])}"
        elif not TIMED.match(key) and a[key] != b[key] and key != "errors":
            yield f"{key}: {str(a[key])[:90]} against {str(b[key])[:90]}"
        elif isinstance(a[key], list) and len(a[key]) != len(b[key]):
            yield f"{key}: {len(a[key])} items against {len(b[key])}"
        elif key == "itls" and [len(gaps) for gaps in a[key]] != [len(gaps) for gaps in b[key]]:
            yield f"itls: {[len(gaps) for gaps in a[key]]} gaps against {[len(gaps) for gaps in b[key]]}"
    if a.get("rps_change_events"):
        if [e["rps"] for e in a["rps_change_events"]] != [e["rps"] for e in b["rps_change_events"]]:
            yield "rps_change_events: other rates"


def compare_legacy(theirs, ours):
    """Rows of the table and keys of the result that the legacy script has."""
    rows = lambda place: [line for line in lines_of(place, True) if re.fullmatch(r".+: \*(True|False)", line) or line[:40].strip() in STEADY]
    us = rows(ours)
    for line in rows(theirs):
        if line not in us:
            yield f"table: no row {line!r}"
    for a, b in zip(results_of(theirs), results_of(ours)):
        a, b = json.loads(a.read_text()), json.loads(b.read_text())
        for key in a:
            if key == "tokenizer_id":
                continue
            if key not in b:
                yield f"keys: {key} is missing"
            elif not TIMED.match(key) and a[key] != b[key] and key != "errors":
                yield f"{key}: {str(a[key])[:90]} against {str(b[key])[:90]}"
            elif key == "itls" and [len(gaps) for gaps in a[key]] != [len(gaps) for gaps in b[key]]:
                yield f"itls: {[len(gaps) for gaps in a[key]]} gaps against {[len(gaps) for gaps in b[key]]}"


def compare_times(theirs, ours):
    """Times against a server of 20 ms a step, within 15 %."""
    for a, b in zip(results_of(theirs), results_of(ours)):
        a, b = json.loads(a.read_text()), json.loads(b.read_text())
        for result in (a, b):
            result["after the first token"] = result["median_e2el_ms"] - result["median_ttft_ms"]
        for key in ("median_tpot_ms", "median_itl_ms", "after the first token"):
            if abs(a[key] - b[key]) > 0.15 * a[key]:
                yield f"{key}: {a[key]:.2f} against {b[key]:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferometer", default=os.environ.get("INFEROMETER", "inferometer"))
    parser.add_argument("--vllm", default=os.environ.get("VLLM"), help="the real vllm command")
    parser.add_argument("--tokenizer", default="gpt2", help="tokenizer without a chat template")
    parser.add_argument("--chat-tokenizer", default="Qwen/Qwen3-0.6B", help="tokenizer with a chat template")
    parser.add_argument("--only", help="run cases whose name matches this pattern")
    parser.add_argument("--tolerance", type=float, default=0.05, help="seconds between arrivals")
    parser.add_argument("--legacy", type=Path, help="folder `benchmarks` of vLLM 0.10's source, with benchmark_serving.py")
    parser.add_argument("--keep", type=Path, help="keep all outputs in this folder")
    args = parser.parse_args()
    if not args.vllm:
        sys.exit("name the real client with VLLM=…/bin/vllm or --vllm; README.md says how to install it")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="parity-"))
    folder.mkdir(parents=True, exist_ok=True)
    names = write_data(folder, args.tokenizer, args.chat_tokenizer)
    server, vllm = Recorder(), Vllm(args.vllm)
    binary = shutil.which(args.inferometer) or args.inferometer
    cases = [case for case in CASES if not args.only or re.search(args.only, case.name)]
    if not args.legacy and any(case.legacy for case in cases):
        cases = [case for case in cases if not case.legacy]
        print("without --legacy: the cases of the legacy script are left out")
    different = 0
    for case in cases:
        legacy = case.legacy and args.legacy.absolute()
        clients = Clients(vllm, os.path.abspath(binary), legacy)
        for _ in range(ATTEMPTS):
            found = run_case(case, server, clients, folder, names, args.tolerance)
            unexpected = [text for text in found if not any(re.search(p, text) for p in case.known)]
            if not unexpected or not all(OF_THE_CLOCK.match(text) for text in unexpected):
                break
        different += bool(unexpected)
        state = "differs" if unexpected else "same, with known differences" if found else "same"
        print(f"{case.name:<34} {state}", flush=True)
        for text in found:
            print(f"    {'' if text in unexpected else '(known) '}{text}", flush=True)
    print(f"\n{len(cases)} argument sets, {len(cases) - different} the same")
    if not args.keep:
        shutil.rmtree(folder)
    return 1 if different else 0


@dataclass
class Clients:
    vllm: Vllm
    binary: str
    # Folder of the legacy script, in whose place the real client is run.
    legacy: Path | None

    def run(self, who, arguments, place, env):
        if who == "theirs":
            return self.vllm.run(arguments, place, env, self.legacy)
        more = ["--no-run-folder"]
        if self.legacy:
            more.append("--compat=vllm-0.10")
        return run_ours(self.binary, [*arguments, *more], place, env)


def arguments_of(case, server, names):
    fill = lambda text: re.sub(r"\{(\w+)\}", lambda found: names[found[1]], text)
    arguments = [fill(argument) for argument in case.arguments]
    place = ["--host", "127.0.0.1", "--port", str(server.server_address[1])]
    arguments += place if case.by_port else ["--base-url", server.url]
    arguments += ["--disable-tqdm"]
    if not case.legacy:
        arguments += ["--request-id-prefix", "p-"]
    if not any(argument in ("--model", "--mod") for argument in arguments) and not case.fetches_model:
        arguments += ["--model", "parity-model"]
    if not any(argument.startswith(("--tokenizer", "--skip-tokenizer")) for argument in arguments) and not case.fetches_model:
        arguments += ["--tokenizer", names["tokenizer"]]
    return arguments


def run_case(case, server, clients, folder, names, tolerance):
    server.tokenizes, server.failing, server.tells_usage = case.tokenizes, case.failing, case.tells_usage
    server.drafts, server.ends, server.times = case.drafts, case.ends, case.times
    server.step = 0.02 if case.timed else None
    server.root = names["tokenizer"]
    arguments = arguments_of(case, server, names)
    outcome = []
    for who in ("theirs", "ours"):
        place = folder / re.sub(r"\W", "_", case.name) / who
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        server.take()
        code = clients.run(who, arguments, place, case.env)
        outcome.append((place, code, server.take()))
    (their_place, their_code, theirs), (our_place, our_code, ours) = outcome
    if case.refused:
        return [] if their_code and our_code else [f"exit codes {their_code} against {our_code}, both should refuse"]
    found = []
    if their_code != our_code:
        said = (our_place if our_code else their_place) / "stderr"
        found.append(f"exit code {their_code} against {our_code}: {said.read_text(errors='replace')[-300:]!r}")
        return found
    if not theirs and not ours:
        return [f"neither sends anything: {(our_place / 'stderr').read_text(errors='replace')[-300:]!r}"]
    found += compare_requests(case, theirs, ours, tolerance)
    if case.legacy:
        found += compare_legacy(their_place, our_place)
        return found
    found += compare_console(their_place, our_place)
    found += compare_results(their_place, our_place)
    if case.timed:
        found += compare_times(their_place, our_place)
    return found


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
