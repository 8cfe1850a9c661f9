"""The package against the program.

    python3 -m unittest discover python/tests

The variable INFEROMETER names another program than the installed one.
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import inferometer


def has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


class Package(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.runs = Path(folder.name) / "runs"

    def simulated(self, **flags):
        return inferometer.simulate(runs_dir=self.runs, num_prompts=20, request_rate=5, random_output_len=8, **flags)

    def test_numbers_are_those_of_the_program(self) -> None:
        run = self.simulated(percentile_metrics="ttft,e2el", metric_percentiles="50,90", label="a b")
        self.assertEqual(run.exit_code, 0)
        # A p90 of 20 requests was asked for.
        self.assertEqual((run.verdict.level, run.verdict.codes), ("CAUTION", ["too_few_samples"]))
        self.assertIn("p90 needs", run.verdict.reasons[0].message)
        self.assertEqual(run.summary.completed, 20)
        self.assertEqual(run.summary.total_output_tokens, 160)
        self.assertEqual(set(run.summary.metrics), {"ttft", "e2el"})
        ttft = run.summary.metrics["ttft"]
        self.assertEqual(ttft.samples, 20)
        self.assertEqual(ttft.percentiles[50.0], ttft.median_ms)
        self.assertIn(f"{ttft.median_ms:.2f}", run.output)
        self.assertEqual(run.manifest["run"]["label"], "a b")
        again = inferometer.Run(run.folder)
        self.assertEqual(again.summary, run.summary)

    def test_flags_of_all_forms(self) -> None:
        run = self.simulated(goodput=["ttft:1000", "e2el:5000"], ignore_eos=True, seed=None, save_result=False)
        self.assertGreater(run.summary.request_goodput, 0)
        self.assertIn("--goodput ttft:1000 e2el:5000", run.manifest["command"])

    def test_a_server_is_measured(self) -> None:
        server = subprocess.Popen(
            [inferometer.binary(), "sim", "--port", "0", "--ttft", "5", "--itl", "1"], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.kill)
        url = next(word for line in server.stdout for word in line.split() if word.startswith("http"))
        run = inferometer.run(
            runs_dir=self.runs, base_url=url, model="sim", tokenizer="builtin", num_prompts=8, random_output_len=4
        )
        self.assertEqual(run.summary.completed, 8)
        self.assertGreater(run.summary.metrics["ttft"].mean_ms, 5)

    def test_errors_are_those_of_the_program(self) -> None:
        with self.assertRaises(inferometer.InferometerError) as caught:
            inferometer.run(runs_dir=self.runs, base_url="http://127.0.0.1:9", model="m", tokenizer="builtin")
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("Nothing answers", str(caught.exception))
        with self.assertRaises(FileNotFoundError):
            inferometer.Run(self.runs)

    @unittest.skipUnless(has("pyarrow"), "needs pyarrow")
    def test_rows_as_arrow(self) -> None:
        run = self.simulated()
        requests = run.requests.to_arrow()
        self.assertEqual(requests.num_rows, 20)
        self.assertEqual(set(requests["outcome"].to_pylist()), {"ok"})
        events = run.events.to_arrow()
        self.assertEqual(events.num_rows, 160)
        lists = requests["event_ns"].to_pylist()
        self.assertEqual(events["ns"].to_pylist(), [at for one in lists for at in one])
        self.assertEqual(events["index"].to_pylist(), [i for i, one in enumerate(lists) for _ in one])

    @unittest.skipUnless(has("pandas") and has("pyarrow"), "needs pandas and pyarrow")
    def test_rows_as_pandas(self) -> None:
        run = self.simulated()
        frame = run.requests.to_pandas()
        ttft = (frame["first_content_ns"] - frame["send_start_ns"]) / 1e6
        self.assertAlmostEqual(ttft.mean(), run.summary.metrics["ttft"].mean_ms)

    @unittest.skipUnless(has("polars"), "needs polars")
    def test_rows_as_polars(self) -> None:
        run = self.simulated()
        self.assertEqual(run.requests.to_polars().height, 20)
        events = run.events.to_polars()
        self.assertEqual((events.height, events.columns[:3]), (160, ["index", "ns", "lag_ns"]))

    def test_the_module_is_the_program(self) -> None:
        shown = subprocess.run(
            [sys.executable, "-m", "inferometer", "--version"], capture_output=True, text=True, check=True
        )
        self.assertTrue(shown.stdout.startswith("inferometer "), shown.stdout)


if __name__ == "__main__":
    unittest.main()
