# Sets `bin` to the program under test: INFEROMETER_BIN, else a release build. To be sourced (`.`) from the root of the tree.
bin=${INFEROMETER_BIN:-}
if [ -z "$bin" ]; then
  cargo build --release --quiet -p inferometer
  bin=$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/inferometer
fi
