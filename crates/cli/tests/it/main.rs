//! The binary as a user meets it: arguments in; text, files and exit codes out.

mod bad_input;
mod files;
mod support;
mod truth;
