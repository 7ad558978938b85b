use serde::Serialize;

/// Rows as comma-separated values under a header of their fields' names.
pub(super) fn csv(rows: impl IntoIterator<Item = impl Serialize>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Rows of numbers and text written to memory: nothing that could fail.
    rows.into_iter().for_each(|row| drop(writer.serialize(row)));
    writer.into_inner().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
