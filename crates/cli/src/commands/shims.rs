//! `inferometer install-shims`: scripts with the names of the tools that they replace.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use inferometer_argparse::Shim;

use crate::args::ShimArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Writes the scripts.
pub(crate) fn install(args: &ShimArgs, output: &Output) -> Result<Exit, Failure> {
    let folder = &args.folder;
    fs::create_dir_all(folder).map_err(|error| {
        Failure::usage(format!("{}: cannot be created: {error}", folder.display()))
    })?;
    let scripts = Shim::all(&std::env::current_exe().or_failure()?, args.with_vllm);
    for Shim { name, .. } in &scripts {
        let path = folder.join(name);
        if path.exists() && !fs::read_to_string(&path).is_ok_and(|text| Shim::is_ours(&text)) {
            return Err(Failure::usage(format!(
                "{}: another file has this name; move it away, or choose another folder",
                path.display()
            )));
        }
    }
    for Shim { name, text } in scripts {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| {
            Failure::usage(format!("{}: cannot write: {error}", path.display()))
        })?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).or_failure()?;
        output.print_line(&path.display().to_string());
    }
    Ok(Exit::Good)
}
