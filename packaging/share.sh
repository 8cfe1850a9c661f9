# Defines `share PROGRAM FOLDER`: writes completions and manual pages where installations of Linux look for them. To be
# sourced (`.`).
share() {
  local program=$1 folder=$2
  rm -rf "$folder"
  mkdir -p "$folder/bash-completion/completions" "$folder/zsh/site-functions" "$folder/fish/vendor_completions.d"
  "$program" completions bash > "$folder/bash-completion/completions/inferometer"
  "$program" completions zsh > "$folder/zsh/site-functions/_inferometer"
  "$program" completions fish > "$folder/fish/vendor_completions.d/inferometer.fish"
  "$program" man "$folder/man/man1" > /dev/null
}
