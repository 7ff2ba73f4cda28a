//! Where a result goes and in what form: standard output, a file as it is, or
//! a picture as PNG. The bytes themselves come from elsewhere, piece by piece.

use crate::error::Error;
use manyhands_protocol::api::OutputShape;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// The media type of raw pictures: 8 bits a channel, row by row from the top.
const RGBA: &str = "image/x-rgba";

/// Where a result goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Standard output, as it is.
    Stdout,
    /// A file: a PNG if the result is a picture and the name ends in `.png`,
    /// else as it is.
    File(PathBuf),
}

impl Target {
    /// What `-o` asks for. Without it, text goes to standard output, and so
    /// does anything that is not read by a person there; a picture, or bytes
    /// that would garble a terminal, go to a file named after the job.
    pub(crate) fn choose(out: Option<&Path>, job: &str, shape: &OutputShape) -> Self {
        match out {
            Some(out) if out == Path::new("-") => Self::Stdout,
            Some(out) if out.is_dir() => Self::File(out.join(default_name(job, shape))),
            Some(out) => Self::File(out.to_owned()),
            None if picture(shape).is_some() => Self::default_file(job, shape),
            None if is_text(shape) || !io::stdout().is_terminal() => Self::Stdout,
            None => Self::default_file(job, shape),
        }
    }

    /// A file named after the job.
    pub(crate) fn default_file(job: &str, shape: &OutputShape) -> Self {
        Self::File(default_name(job, shape).into())
    }

    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File(path) => Some(path),
        }
    }
}

/// The job's name as a file name, with the ending that its result asks for.
fn default_name(job: &str, shape: &OutputShape) -> String {
    let keep = |c: char| {
        if c.is_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let stem: String = job.chars().map(keep).take(100).collect();
    let stem = stem.trim_matches(['.', '-']);
    let stem = if stem.is_empty() { "result" } else { stem };
    let safe = |text: &&str| {
        !text.is_empty() && text.len() <= 16 && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let extension = match shape.extension.as_deref().filter(safe) {
        Some(extension) => extension,
        None if picture(shape).is_some() => "png",
        None if shape.media_type.as_deref() == Some("application/json") => "json",
        None if is_text(shape) => "txt",
        None => "bin",
    };
    format!("{stem}.{extension}")
}

/// Whether a person can read it: text, JSON, or nothing said (the SDK's
/// answers are text unless the guest says otherwise).
fn is_text(shape: &OutputShape) -> bool {
    shape
        .media_type
        .as_deref()
        .is_none_or(|media| media.starts_with("text/") || media.starts_with("application/json"))
}

/// Width and height in pixels, if the result is a raw picture.
fn picture(shape: &OutputShape) -> Option<(u32, u32)> {
    let raw = shape.media_type.as_deref() == Some(RGBA);
    raw.then_some((shape.width?, shape.height?))
}

/// Takes a result's bytes, in order and in pieces of any size. A file appears
/// under its name only when all of them are there.
pub(crate) struct ResultWriter {
    sink: Sink,
    place: Place,
}

enum Sink {
    Raw(Box<dyn Write + Send>),
    Png(Box<png::StreamWriter<'static, BufWriter<File>>>),
}

/// Standard output where a person reads it: the prompt begins a line of its own.
#[derive(Default)]
struct Terminal {
    line_is_open: bool,
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write(bytes)?;
        if let Some(last) = bytes[..written].last() {
            self.line_is_open = *last != b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.line_is_open {
            self.write_all(b"\n")?;
        }
        io::stdout().flush()
    }
}

struct Place {
    name: String,
    /// The unfinished file and its name when finished.
    rename: Option<(PathBuf, PathBuf)>,
}

impl ResultWriter {
    /// Opens `target` for a result of `len` bytes.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(crate) fn open(target: &Target, shape: &OutputShape, len: u64) -> Result<Self, Error> {
        let Target::File(path) = target else {
            let place = Place {
                name: "standard output".into(),
                rename: None,
            };
            let out: Box<dyn Write + Send> = match io::stdout().is_terminal() {
                true => Box::new(Terminal::default()),
                false => Box::new(io::stdout()),
            };
            let sink = Sink::Raw(Box::new(BufWriter::new(out)));
            return Ok(Self { sink, place });
        };
        let (writing, place) = Place::of(path);
        let file = File::create(&writing).map_err(|source| Error::write(path, source))?;
        let file = BufWriter::with_capacity(256 << 10, file);
        let as_png = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        let sink = match picture(shape)
            .filter(|(w, h)| as_png && u64::from(*w) * u64::from(*h) * 4 == len)
        {
            Some((width, height)) => {
                let writer = png_writer(file, width, height);
                Sink::Png(Box::new(
                    writer.map_err(|source| Error::write(path, source))?,
                ))
            }
            None => Sink::Raw(Box::new(file)),
        };
        Ok(Self { sink, place })
    }

    /// All bytes are there.
    ///
    /// # Errors
    /// When the file cannot be completed.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { sink, mut place } = self;
        let finished = match sink {
            Sink::Raw(mut sink) => sink.flush(),
            Sink::Png(sink) => sink.finish().map_err(io::Error::from),
        };
        let renamed = finished.and_then(|()| match &place.rename {
            Some((from, to)) => std::fs::rename(from, to),
            None => Ok(()),
        });
        renamed.map_err(|source| place.error(source))?;
        place.rename = None;
        Ok(())
    }

    /// As an error of this target.
    pub(crate) fn error(&self, source: io::Error) -> Error {
        self.place.error(source)
    }
}

/// Files and pipes are written at once: the pieces that come from a coordinator
/// are small.
impl AsyncWrite for ResultWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match &mut self.sink {
            Sink::Raw(sink) => sink.write(bytes),
            Sink::Png(sink) => sink.write(bytes),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // `finish` flushes; a picture can be flushed only once.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A result that was not finished leaves nothing behind.
        if let Some((part, _)) = &self.rename {
            let _ = std::fs::remove_file(part);
        }
    }
}

impl Place {
    /// What to write and what it becomes. A device or a pipe is written itself.
    fn of(path: &Path) -> (PathBuf, Self) {
        let name = path.display().to_string();
        let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        if special {
            return (path.to_owned(), Self { name, rename: None });
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let rename = Some((part.clone(), path.to_owned()));
        (part, Self { name, rename })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::write(Path::new(&self.name), source)
    }
}

fn png_writer(
    file: BufWriter<File>,
    width: u32,
    height: u32,
) -> io::Result<png::StreamWriter<'static, BufWriter<File>>> {
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    Ok(encoder.write_header()?.into_stream_writer()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn rgba(width: u32, height: u32) -> OutputShape {
        OutputShape {
            media_type: Some(RGBA.into()),
            width: Some(width),
            height: Some(height),
            ..OutputShape::default()
        }
    }

    async fn save(path: &Path, shape: &OutputShape, bytes: &[u8]) -> Vec<u8> {
        let target = Target::File(path.to_owned());
        let mut writer = ResultWriter::open(&target, shape, bytes.len() as u64).unwrap();
        for piece in bytes.chunks(3) {
            writer.write_all(piece).await.unwrap();
        }
        assert!(!path.exists(), "an unfinished result has another name");
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    #[tokio::test]
    async fn an_unfinished_result_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::File(folder.path().join("a.txt"));
        let mut writer = ResultWriter::open(&target, &OutputShape::default(), 9).unwrap();
        writer.write_all(b"half").await.unwrap();
        drop(writer);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn pictures_become_png_where_the_name_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..24).collect();
        let file = save(&folder.path().join("a.png"), &rgba(3, 2), &pixels).await;
        let mut reader = png::Decoder::new(io::Cursor::new(file))
            .read_info()
            .unwrap();
        let mut decoded = vec![0; 24];
        let info = reader.next_frame(&mut decoded).unwrap();
        assert_eq!((info.width, info.height, decoded), (3, 2, pixels.clone()));

        assert_eq!(
            save(&folder.path().join("a.rgba"), &rgba(3, 2), &pixels).await,
            pixels
        );
        let text = OutputShape::default();
        assert_eq!(
            save(&folder.path().join("b.png"), &text, b"no picture").await,
            b"no picture"
        );
        assert_eq!(
            save(&folder.path().join("c.png"), &rgba(9, 9), &pixels).await,
            pixels,
            "not of that shape"
        );
    }

    #[test]
    fn results_go_where_they_are_asked_to_or_belong() {
        let folder = tempfile::tempdir().unwrap();
        let json = OutputShape {
            media_type: Some("application/json".into()),
            ..OutputShape::default()
        };
        let pixels = rgba(1, 1);
        let choose = |out: Option<&str>, shape| Target::choose(out.map(Path::new), "my job", shape);
        assert_eq!(choose(Some("-"), &pixels), Target::Stdout);
        assert_eq!(choose(Some("x.png"), &pixels), Target::File("x.png".into()));
        assert_eq!(
            choose(folder.path().to_str(), &json),
            Target::File(folder.path().join("my-job.json"))
        );
        assert_eq!(choose(None, &pixels), Target::File("my-job.png".into()));
        assert_eq!(choose(None, &json), Target::Stdout);
    }

    #[test]
    fn a_guest_cannot_choose_the_folder() {
        let shape = OutputShape {
            extension: Some("/../x".into()),
            ..OutputShape::default()
        };
        assert_eq!(default_name("../../etc/passwd", &shape), "etc-passwd.txt");
        assert_eq!(default_name("…", &rgba(1, 1)), "result.png");
        let shape = OutputShape {
            extension: Some("csv".into()),
            ..OutputShape::default()
        };
        assert_eq!(default_name("census", &shape), "census.csv");
    }

    #[tokio::test]
    async fn a_device_is_written_itself() {
        let mut writer =
            ResultWriter::open(&Target::File("/dev/null".into()), &rgba(1, 1), 4).unwrap();
        writer.write_all(b"1234").await.unwrap();
        writer.finish().unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = ResultWriter::open(&Target::File("/no/such/a".into()), &rgba(1, 1), 4)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "cannot write /no/such/a: no such file or directory"
        );
    }
}
