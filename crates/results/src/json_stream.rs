//! Lists and objects in the layout of Python's `json.dumps`, written element by element, so that
//! lists of millions of numbers are never held as a JSON value.

use std::io::{self, Write};

use inferometer_core::python::write_json;

/// Writes a list, each item by `write`.
pub(crate) fn write_list<W: Write + ?Sized, T>(
    out: &mut W,
    items: &[T],
    write: impl Fn(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.write_all(b", ")?;
        }
        write(out, item)?;
    }
    out.write_all(b"]")
}

/// Writes an object, each value by `write`.
pub(crate) fn write_object<'a, W: Write + ?Sized, T: 'a>(
    out: &mut W,
    entries: impl Iterator<Item = (&'a String, &'a T)>,
    write: impl Fn(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"{")?;
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.write_all(b", ")?;
        }
        write_json(out, key)?;
        out.write_all(b": ")?;
        write(out, value)?;
    }
    out.write_all(b"}")
}
