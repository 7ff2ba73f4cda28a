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
    /// The file that was asked for, which is replaced if it is there: a PNG if
    /// the result is a picture and the name ends in `.png`, else as it is.
    File(PathBuf),
    /// A file named after the job. It replaces nothing: another one of the same
    /// name makes it `NAME-2.png`. Text that turns out to be JSON says so in its
    /// ending.
    Default(PathBuf),
}

impl Target {
    /// What `-o` asks for. Without it, text goes to standard output, and so
    /// does anything that is not read by a person there; a picture, or bytes
    /// that would garble a terminal, go to a file named after the job.
    pub(crate) fn choose(out: Option<&Path>, job: &str, shape: &OutputShape) -> Self {
        match out {
            Some(out) if out == Path::new("-") => Self::Stdout,
            Some(out) if out.is_dir() => Self::Default(out.join(default_name(job, shape))),
            Some(out) => Self::File(out.to_owned()),
            None if picture(shape).is_some() => Self::default_file(job, shape),
            None if is_text(shape) || !io::stdout().is_terminal() => Self::Stdout,
            None => Self::default_file(job, shape),
        }
    }

    /// A file named after the job.
    pub(crate) fn default_file(job: &str, shape: &OutputShape) -> Self {
        Self::Default(default_name(job, shape).into())
    }

    /// What was asked for, if it can be told before the job is known.
    pub(crate) fn asked(out: Option<&Path>) -> Option<Self> {
        let file = out.filter(|out| *out != Path::new("-") && !out.is_dir());
        file.map(|file| Self::File(file.to_owned()))
    }

    /// Opens it, so that what cannot be written is found out early.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(crate) fn open(&self) -> Result<Opened, Error> {
        let (path, is_default) = match self {
            Self::Stdout => return Ok(Opened::Stdout),
            Self::File(path) => (path, false),
            Self::Default(path) => (path, true),
        };
        let (writing, place) = Place::of(path, is_default);
        let file = File::create(&writing).map_err(|source| Error::write(path, source))?;
        Ok(Opened::File { file, place })
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

/// A target that can be written.
pub(crate) enum Opened {
    Stdout,
    File { file: File, place: Place },
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

/// A file's place while it is written and afterwards.
pub(crate) struct Place {
    /// `None` for standard output.
    name: Option<PathBuf>,
    /// The unfinished file and its name when finished.
    rename: Option<(PathBuf, PathBuf)>,
    /// Whether nobody chose the name.
    is_default: bool,
}

impl ResultWriter {
    /// For a result of `len` bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn new(opened: Opened, shape: &OutputShape, len: u64) -> Result<Self, Error> {
        let Opened::File { file, place } = opened else {
            let place = Place {
                name: None,
                rename: None,
                is_default: false,
            };
            let out: Box<dyn Write + Send> = match io::stdout().is_terminal() {
                true => Box::new(Terminal::default()),
                false => Box::new(io::stdout()),
            };
            let sink = Sink::Raw(Box::new(BufWriter::new(out)));
            return Ok(Self { sink, place });
        };
        let file = BufWriter::with_capacity(256 << 10, file);
        let as_png = place
            .name
            .as_ref()
            .and_then(|name| name.extension())
            .is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        let sink = match picture(shape)
            .filter(|(w, h)| as_png && u64::from(*w) * u64::from(*h) * 4 == len)
        {
            Some((width, height)) => {
                let writer = png_writer(file, width, height);
                Sink::Png(Box::new(writer.map_err(|source| place.error(source))?))
            }
            None => Sink::Raw(Box::new(file)),
        };
        Ok(Self { sink, place })
    }

    /// All bytes are there. The file, if it is one.
    ///
    /// # Errors
    /// When the file cannot be completed.
    pub(crate) fn finish(self) -> Result<Option<PathBuf>, Error> {
        let Self { sink, mut place } = self;
        let finished = match sink {
            Sink::Raw(mut sink) => sink.flush(),
            Sink::Png(sink) => sink.finish().map_err(io::Error::from),
        };
        let named = finished.and_then(|()| place.settle());
        let name = named.map_err(|source| place.error(source))?;
        Ok(name)
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
    fn of(path: &Path, is_default: bool) -> (PathBuf, Self) {
        let name = Some(path.to_owned());
        let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        if special {
            let place = Self {
                name,
                rename: None,
                is_default: false,
            };
            return (path.to_owned(), place);
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let rename = Some((part.clone(), path.to_owned()));
        let place = Self {
            name,
            rename,
            is_default,
        };
        (part, place)
    }

    /// Gives the finished file its name.
    fn settle(&mut self) -> io::Result<Option<PathBuf>> {
        let Some((part, path)) = &self.rename else {
            return Ok(self.name.clone());
        };
        let mut name = path.clone();
        if self.is_default {
            if path.extension().is_some_and(|ending| ending == "txt") && holds_json(part)? {
                name.set_extension("json");
            }
            name = unused(&name)?;
        }
        std::fs::rename(part, &name)?;
        self.rename = None;
        Ok(Some(name))
    }

    fn error(&self, source: io::Error) -> Error {
        let name = self.name.as_deref();
        Error::write(name.unwrap_or(Path::new("standard output")), source)
    }
}

/// Whether all of a file is one JSON value that is not just text of another
/// kind: a guest's answers are JSON unless they are strings.
fn holds_json(path: &Path) -> io::Result<bool> {
    let file = io::BufReader::new(File::open(path)?);
    Ok(serde_json::from_reader::<_, serde::de::IgnoredAny>(file).is_ok())
}

/// The first of `NAME.png`, `NAME-2.png`, `NAME-3.png`… that is not there.
fn unused(path: &Path) -> io::Result<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let numbered =
        (2..).map(|number: u32| path.with_file_name(format!("{stem}-{number}.{ending}")));
    for name in std::iter::once(path.to_owned()).chain(numbered) {
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    unreachable!("there are more numbers than files")
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

    fn open(target: &Target, shape: &OutputShape, len: u64) -> ResultWriter {
        ResultWriter::new(target.open().unwrap(), shape, len).unwrap()
    }

    async fn save(path: &Path, shape: &OutputShape, bytes: &[u8]) -> Vec<u8> {
        let target = Target::File(path.to_owned());
        let mut writer = open(&target, shape, bytes.len() as u64);
        for piece in bytes.chunks(3) {
            writer.write_all(piece).await.unwrap();
        }
        assert!(!path.exists(), "an unfinished result has another name");
        assert_eq!(writer.finish().unwrap().as_deref(), Some(path));
        std::fs::read(path).unwrap()
    }

    #[tokio::test]
    async fn an_unfinished_result_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::File(folder.path().join("a.txt"));
        let mut writer = open(&target, &OutputShape::default(), 9);
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
            Target::Default(folder.path().join("my-job.json"))
        );
        assert_eq!(choose(None, &pixels), Target::Default("my-job.png".into()));
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
        let mut writer = open(&Target::File("/dev/null".into()), &rgba(1, 1), 4);
        writer.write_all(b"1234").await.unwrap();
        writer.finish().unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let target = Target::asked(Some(Path::new("/no/such/a"))).unwrap();
        let error = target.open().err().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot write /no/such/a: no such file or directory"
        );
        assert_eq!(Target::asked(Some(Path::new("-"))), None);
        assert_eq!(Target::asked(None), None);
    }

    #[tokio::test]
    async fn a_file_that_nobody_named_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let save = async |bytes: &'static [u8]| {
            let target = Target::Default(folder.path().join("pi.txt"));
            let mut writer = open(&target, &OutputShape::default(), bytes.len() as u64);
            writer.write_all(bytes).await.unwrap();
            let path = writer.finish().unwrap().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(save(b"three").await, "pi.txt");
        assert_eq!(save(b"four").await, "pi-2.txt");
        assert_eq!(save(b"five").await, "pi-3.txt");
        assert_eq!(save(b"{\"pi\": 3.14}\n").await, "pi.json");
        assert_eq!(save(b"3.14").await, "pi-2.json");
        assert_eq!(folder.path().read_dir().unwrap().count(), 5);
    }
}
