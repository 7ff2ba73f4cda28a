//! Embeds the files under `www/`, compressed once, with a table of them.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let www = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../www");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed={}", www.display());
    let mut files = Vec::new();
    if www.is_dir() {
        collect(&www, "", &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for (number, name) in files.iter().enumerate() {
        let path = www.join(name).canonicalize()?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&fs::read(&path)?)?;
        let packed = out.join(format!("{number}.gz"));
        fs::write(&packed, gzip.finish()?)?;
        writeln!(
            table,
            "Asset {{ name: {name:?}, plain: include_bytes!({path:?}), gzip: include_bytes!({packed:?}) }},"
        )
        .expect("a String takes all");
    }
    table.push(']');
    fs::write(out.join("assets.rs"), table)
}

/// Files under `folder`, as paths relative to the first folder, with `/`.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            io::Error::other(format!("www holds a file whose name is no text: {name:?}"))
        })?;
        // What editors and git leave is not part of the page.
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
