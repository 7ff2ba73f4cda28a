//! What a job's result is, told to the host by `open`. Advisory: it changes no byte of the result.

use serde::Serialize;

/// What kind of bytes a job's result is, so that the page can draw it and the client can name it.
///
/// ```
/// use manyhands_guest_sdk::Media;
///
/// let picture = Media::rgba(640, 480);
/// let table = Media::new("text/csv").extension("csv");
/// # let _ = (picture, table);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Media {
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extension: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_task: Option<u64>,
}

impl Media {
    /// A result of this media type, for example `text/csv`.
    pub fn new(media_type: impl Into<String>) -> Self {
        Self {
            media_type: Some(media_type.into()),
            ..Self::default()
        }
    }

    /// A picture of `width` × `height` pixels, four bytes each (red, green, blue, opacity), row by
    /// row from the top. The page draws it as it fills, the client saves a PNG.
    pub fn rgba(width: u32, height: u32) -> Self {
        Self {
            width: Some(width),
            height: Some(height),
            ..Self::new("image/x-rgba").extension("png")
        }
    }

    /// The usual file name extension, without the dot.
    #[must_use]
    pub fn extension(mut self, extension: impl Into<String>) -> Self {
        self.extension = Some(extension.into());
        self
    }

    /// Every task of a [`Concat`](crate::Concat) job gives this many bytes. A task that gives
    /// another number is an error.
    #[must_use]
    pub fn bytes_per_task(mut self, bytes: u64) -> Self {
        self.bytes_per_task = Some(bytes);
        self
    }

    pub(crate) fn promised_bytes(&self) -> Option<u64> {
        self.bytes_per_task
    }
}
