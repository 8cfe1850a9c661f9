//! Files that are either complete or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use inferometer_os::files;

use crate::ResultsError;

/// Bytes of the longest file name on Linux's file systems and others.
const LONGEST_NAME: usize = 255;

/// What is done about a symbolic link that has the name of a file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The file that it points to is written: the user named the link.
    Follow,
    /// The file takes its place: the link was found in a folder, which may come from anywhere, and
    /// what it points to is none of the folder's files.
    Replace,
}

/// Writes `path` through a temporary file beside it, so that a reader, or a crash, never sees a
/// partial file. A link that is followed stays one: the temporary file is beside its target, which may
/// be on another file system.
///
/// What the user named and is not a regular file, such as `/dev/stdout`, cannot be replaced and is
/// written directly, and so is a device in any folder. A pipe in a folder is replaced: opening it
/// waits for a reader.
pub(crate) fn write_atomically<T>(
    path: &Path,
    links: Links,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ResultsError>,
) -> Result<T, ResultsError> {
    let target = match links {
        Links::Follow if is_special(path) || files::own(path).is_some() => {
            return write_directly(path, write);
        }
        Links::Follow => target_of(path),
        Links::Replace if is_device(path) => return write_directly(path, write),
        Links::Replace => path.to_owned(),
    };
    let (value, temporary) = write_beside(&target, write)?;
    temporary
        .persist(&target)
        .map_err(|error| ResultsError::io("write", path)(error.error))?;
    Ok(value)
}

fn write_directly<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ResultsError>,
) -> Result<T, ResultsError> {
    let file = files::own(path)
        .unwrap_or_else(|| File::options().write(true).open(path))
        .map_err(ResultsError::io("open", path))?;
    let mut buffered = BufWriter::new(file);
    let value = write(&mut buffered)?;
    buffered.flush().map_err(ResultsError::io("write", path))?;
    Ok(value)
}

/// Writes a file of a folder in one step. A symbolic link of its name is replaced, not followed.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_in_folder(path: &Path, bytes: &[u8]) -> Result<(), ResultsError> {
    write_atomically(path, Links::Replace, |out| {
        out.write_all(bytes)
            .map_err(ResultsError::io("write", path))
    })
}

/// The file that `path` names once its symbolic links are followed, also where that does not exist
/// yet.
pub(crate) fn target_of(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    // The limit of Linux on links in a row.
    for _ in 0..40 {
        match fs::read_link(&target) {
            // A relative link begins in the link's own folder.
            Ok(next) => target = folder_of(&target).join(next),
            Err(_) => break,
        }
    }
    target
}

/// As [`write_atomically`], but an existing file is never replaced: the new one gets the first free
/// of the names `NAME`, `NAME-2`, `NAME-3`, …, also where several processes write at once. Returns
/// its path.
pub(crate) fn write_new<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ResultsError>,
) -> Result<PathBuf, ResultsError> {
    let (_, mut temporary) = write_beside(path, write)?;
    for number in 1_u32.. {
        let name = numbered(path, number);
        match temporary.persist_noclobber(&name) {
            Ok(_) => return Ok(name),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => {
                temporary = error.file;
            }
            Err(error) => return Err(ResultsError::io("write", &name)(error.error)),
        }
    }
    unreachable!("the loop ends by the limit on the number")
}

/// `write_new` with all of the content at once.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<PathBuf, ResultsError> {
    write_new(path, |out| {
        out.write_all(bytes)
            .map_err(ResultsError::io("write", path))
    })
}

/// `DIR/NAME.EXT` for number 1, then `DIR/NAME-2.EXT` and so on, with a shorter name where the number
/// makes it too long.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    let end = format!("-{number}{extension}");
    let room = LONGEST_NAME.saturating_sub(end.len());
    path.with_file_name(format!("{}{end}", shortened(&stem, room)))
}

/// The start of `name`, of at most `limit` bytes.
pub(crate) fn shortened(name: &str, limit: usize) -> &str {
    &name[..name.floor_char_boundary(limit)]
}

/// Writes a temporary file in the folder of `path`, complete and on the disk.
fn write_beside<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ResultsError>,
) -> Result<(T, tempfile::NamedTempFile), ResultsError> {
    let folder = folder_of(path);
    let temporary = temporary_in(folder).map_err(ResultsError::io("create a file in", folder))?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary);
    let value = write(&mut buffered)?;
    let temporary = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .map_err(ResultsError::io("write", path))?;
    temporary
        .as_file()
        .sync_all()
        .map_err(ResultsError::io("write", path))?;
    Ok((value, temporary))
}

/// Checks that `path`, which the user named, can be written later, without leaving a trace or touching
/// what is there.
///
/// A named pipe is refused: opening it waits for a reader, and a reader sees the end of the file after
/// this check.
pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
    if let Some(open) = files::own(path) {
        return open.map(drop);
    }
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    if is_pipe(path) {
        return Err(io::Error::other("it is a named pipe; expected a file"));
    }
    if path.exists() {
        File::options().append(true).open(path)?;
        if is_special(path) {
            return Ok(());
        }
    }
    let target = target_of(path);
    match target.symlink_metadata() {
        // The name is too long, for example.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut probe = temporary_in(folder_of(&target))?;
    // A full disk accepts empty files.
    probe.write_all(b"inferometer")?;
    probe.as_file().sync_data()
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;

    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// True for a device itself, not for a link to one.
#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;

    fs::symlink_metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_block_device()
    })
}

#[cfg(not(unix))]
fn is_device(_path: &Path) -> bool {
    false
}

fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".inferometer-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private by default, but results are meant to be shared; the umask
        // applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        fs::write(&path, "old").unwrap();
        let failed = write_atomically(&path, Links::Follow, |out| {
            out.write_all(b"half").unwrap();
            Err::<(), _>(ResultsError::format(Path::new("x"), "no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&path, Links::Follow, |out| {
            out.write_all(b"new")
                .map_err(ResultsError::io("write", &path))
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        check_writable(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A link that the user named leads to the file to write, which may not exist yet. A link that was
    /// found in a folder leads to a file of somebody else.
    #[cfg(unix)]
    #[test]
    fn only_links_that_the_user_named_are_followed() {
        use std::os::unix::fs::symlink;

        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |path: &Path, links| {
            write_atomically(path, links, |out| {
                out.write_all(b"new")
                    .map_err(ResultsError::io("write", path))
            })
            .unwrap();
        };
        for exists in [true, false] {
            let [target, link] = [other.path().join("target"), folder.path().join("link")];
            if exists {
                fs::write(&target, "old").unwrap();
            }
            symlink(&target, &link).unwrap();
            check_writable(&link).unwrap();
            write(&link, Links::Follow);
            assert!(link.is_symlink());
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
            fs::write(&target, "old").unwrap();
            write(&link, Links::Replace);
            assert!(!link.is_symlink());
            assert_eq!(fs::read_to_string(&target).unwrap(), "old");
            assert_eq!(fs::read_to_string(&link).unwrap(), "new");
            fs::remove_file(&link).unwrap();
            fs::remove_file(&target).unwrap();
        }
    }

    /// Shared memory is a file system of its own on Linux; where it is not, this is the test above.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_to_another_file_system_is_written_there() {
        let folder = tempfile::tempdir().unwrap();
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let [target, link] = [other.path().join("r.json"), folder.path().join("r.json")];
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomically(&link, Links::Follow, |out| {
            out.write_all(b"new")
                .map_err(ResultsError::io("write", &link))
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    }

    /// Eight writers at once, twice in a row: sixteen files, none of them lost.
    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let write = |text: String| {
            write_new(&path, |out| {
                out.write_all(text.as_bytes())
                    .map_err(ResultsError::io("write", &path))
            })
            .unwrap()
        };
        let mut texts = Vec::new();
        for round in 0..2 {
            std::thread::scope(|scope| {
                let writers: Vec<_> = (0..8)
                    .map(|writer| scope.spawn(move || write(format!("{round} {writer}"))))
                    .collect();
                for writer in writers {
                    texts.push(fs::read_to_string(writer.join().unwrap()).unwrap());
                }
            });
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 16);
        assert!(folder.path().join("result-16.json").is_file());
    }

    /// The longest name that fits is one; numbers and the copy of a result that is rescued find room.
    #[test]
    fn names_that_are_too_long_are_found_out_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let named = |length: usize| {
            folder
                .path()
                .join(format!("{}.json", "模".repeat(length / 3)))
        };
        check_writable(&named(250)).unwrap();
        let error = check_writable(&named(253)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
        for _ in 0..2 {
            write_bytes(&named(250), b"x").unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_named_pipe_is_refused_without_opening_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if made.is_ok_and(|status| status.success()) {
            let error = check_writable(&path).unwrap_err().to_string();
            assert!(error.contains("named pipe"), "{error}");
        }
    }

    #[test]
    fn a_missing_folder_or_a_folder_in_the_way_is_found_out_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_writable(&folder.path().join("none/result.json")).is_err());
        assert!(check_writable(folder.path()).is_err());
    }
}
