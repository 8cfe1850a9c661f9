#!/usr/bin/env python3
"""Cuts Noto Sans SC down to the characters that the figures use.

Run by hand after adding Chinese texts to the sources:
    python3 subset.py FOLDER-WITH-NotoSansSC_400Regular.ttf-AND-NotoSansSC_600SemiBold.ttf
Needs fonttools. The static fonts are in the npm package @expo-google-fonts/noto-sans-sc.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPORT = HERE.parent.parent
SOURCES = [*REPORT.glob("src/**/*.rs"), REPORT.parent / "metrics/src/verdict/rules.rs"]
LATIN = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA)]))
SIGNS = "‐‑–—‘’“”…·•←↑→↓≤≥≈±×÷∞√∑−●■▲◆▼⚠†‡§µ₀₁₂₃，。：；！？、（）《》「」％"


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    used = {c for path in SOURCES for c in path.read_text() if ord(c) > 0x7F}
    glyphs = "".join(sorted(set(LATIN) | set(SIGNS) | used))
    (HERE / "glyphs.txt").write_text(glyphs + "\n")
    for weight, name in (("400Regular", "Regular"), ("600SemiBold", "SemiBold")):
        subprocess.run(
            ["pyftsubset", str(folder / f"NotoSansSC_{weight}.ttf"), f"--text-file={HERE / 'glyphs.txt'}",
             "--layout-features=kern,mark,mkmk,ccmp,locl", "--name-IDs=*", "--no-hinting", "--desubroutinize",
             f"--output-file={HERE / f'NotoSansSC-{name}.subset.ttf'}"],
            check=True,
        )


if __name__ == "__main__":
    main()
