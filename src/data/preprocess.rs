use super::DataError;
use serde::Deserialize;
use std::path::Path;

/// How a file orders the axes of its examples. Batches are always NCHW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Layout {
    /// Channels before rows; also any other shape, taken as it is.
    #[default]
    #[serde(rename = "NCHW")]
    Nchw,
    /// Channels last.
    #[serde(rename = "NHWC")]
    Nhwc,
    /// One channel whose axis is left out.
    #[serde(rename = "NHW")]
    Nhw,
}

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// The shorter side of a resized image, or both sides of a crop.
    Side(u32),
    /// Height and width.
    Exact([u32; 2]),
}

/// How a resized pixel is computed; both widen with the reduction, so that nothing is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle.
    #[default]
    Bilinear,
    /// Catmull-Rom, a cubic with a = -0.5.
    Bicubic,
}

/// Which channels an image file becomes, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    #[serde(rename = "RGB")]
    Rgb,
    /// Blue, green, red.
    #[serde(rename = "BGR")]
    Bgr,
    /// Luma of ITU-R BT.601.
    #[serde(rename = "L")]
    Luma,
}

/// The contents of `dataset.toml`: how stored values become network inputs, and class names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// Name of the data for titles and reports.
    pub name: Option<String>,
    /// Axis order of the file.
    pub layout: Layout,
    /// Factor on stored values; 1/255 for bytes and 1 for floats where it is not given.
    pub scale: Option<f64>,
    /// Subtracted after scaling; per channel, one for all, or empty for 0.
    pub mean: Vec<f64>,
    /// Divisor; per channel, one for all, or empty for 1.
    pub std: Vec<f64>,
    /// Class names in label order.
    pub labels: Vec<String>,
    /// Image files: size before the crop.
    pub resize: Option<Extent>,
    /// Image files: how they are resized.
    pub filter: Filter,
    /// Image files: the part in the middle that is kept.
    pub crop: Option<Extent>,
    /// Image files: channels and their order.
    pub channels: Channels,
    /// Image files: at most this many, each class in its share.
    pub limit: Option<usize>,
    /// CSV: shape of one example, such as [1, 28, 28]; one axis where it is empty.
    pub shape: Vec<usize>,
    /// CSV: name of the column with the class.
    pub label_column: Option<String>,
    /// JSON lines: the token that short lists are filled up with.
    pub padding: i64,
}

/// `value = stored * factor + offset` of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub factor: f64,
    pub offset: f64,
}

impl Affine {
    pub const IDENTITY: Self = Self { factor: 1.0, offset: 0.0 };

    pub fn apply(self, stored: f64) -> f32 {
        (self.factor * stored + self.offset) as f32
    }
}

impl Preprocess {
    /// Reads a `dataset.toml`.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        Self::parse(&std::fs::read_to_string(path).map_err(DataError::io("read", path))?, path)
    }

    /// Parses the text of a `dataset.toml`; `path` is what errors name.
    ///
    /// # Errors
    /// [`DataError::Preprocess`] if it is not understood.
    pub fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let problem = format!("line {line}: {}", e.message().lines().next().unwrap_or("it is not TOML"));
            DataError::Preprocess { problem, path: path.to_owned() }
        })
    }

    /// The first key that says how stored values become inputs, if any does; arrays that carry the name of an
    /// input are fed as they are.
    pub(super) fn first_of_values(&self) -> Option<&'static str> {
        let given = [
            (self.layout != Layout::Nchw, "layout"),
            (self.scale.is_some(), "scale"),
            (!self.mean.is_empty(), "mean"),
            (!self.std.is_empty(), "std"),
        ];
        given.into_iter().find_map(|(given, key)| given.then_some(key))
    }

    /// One affine map per channel.
    pub(super) fn affine(&self, channels: usize, default_scale: f64) -> Result<Vec<Affine>, String> {
        let scale = self.scale.unwrap_or(default_scale);
        let pick = |list: &[f64], name: &str, default: f64, channel: usize| match list {
            [] => Ok(default),
            [one] => Ok(*one),
            many if many.len() == channels => Ok(many[channel]),
            many => Err(format!("`{name}` has {} values for {channels} channels", many.len())),
        };
        (0..channels)
            .map(|c| {
                let (mean, std) = (pick(&self.mean, "mean", 0.0, c)?, pick(&self.std, "std", 1.0, c)?);
                if !(std.is_finite() && std > 0.0 && mean.is_finite() && scale.is_finite()) {
                    return Err("`scale` and `mean` must be finite and `std` above zero".to_owned());
                }
                Ok(Affine { factor: scale / std, offset: -mean / std })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        let problem = |text: &str| Preprocess::parse(text, Path::new("dataset.toml")).unwrap_err().to_string();
        let text = problem("scale = 1.0\nmean = 'a'\n");
        assert!(text.starts_with("line 2: ") && text.ends_with("dataset.toml"), "{text}");
        assert!(problem("name = 'a'\n\nscal = 1.0\n").starts_with("line 3: unknown field `scal`"));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataset.toml");
        std::fs::write(&path, "scales = 2.0\n").unwrap();
        let error = Preprocess::read(&path).unwrap_err().to_string();
        assert!(error.contains("scales") && error.ends_with("dataset.toml"), "{error}");
    }

    #[test]
    fn each_channel_has_its_own_map() {
        let p = Preprocess { scale: Some(0.5), mean: vec![1.0, 2.0], std: vec![4.0], ..Preprocess::default() };
        let maps = p.affine(2, 1.0).unwrap();
        assert_eq!((maps[0].apply(10.0), maps[1].apply(10.0)), (1.0, 0.75));
        assert!(p.affine(3, 1.0).unwrap_err().contains("2 values for 3 channels"));
        let zero = Preprocess { std: vec![0.0], ..Preprocess::default() };
        assert!(zero.affine(1, 1.0).is_err());
    }
}
