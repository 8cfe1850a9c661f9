# Sets `bin` to the program under test: SERVEBENCH_BIN, or else a release build. To be read (`.`) at the root of the tree.
bin=${SERVEBENCH_BIN:-}
if [ -z "$bin" ]; then
  cargo build --release --quiet -p servebench
  bin=$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/servebench
fi
