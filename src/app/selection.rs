use std::collections::BTreeSet;

/// How a click changes the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectMode {
    /// Only this one (plain click).
    Replace,
    /// This one as well, or no longer (command-click, check box).
    Toggle,
    /// Everything between the last one and this, in the order shown (shift-click).
    Range,
}

/// The selected layers: one that the views show, and all that commands apply to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    chosen: BTreeSet<usize>,
    focus: Option<usize>,
}

impl Selection {
    /// The layer that the views show.
    pub const fn focus(&self) -> Option<usize> {
        self.focus
    }

    /// All selected layers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.chosen.iter().copied()
    }

    /// Number of selected layers.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether nothing is selected.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Whether `layer` is selected.
    pub fn contains(&self, layer: usize) -> bool {
        self.chosen.contains(&layer)
    }

    /// Selects exactly these; the first becomes the focus unless the focus is among them.
    pub fn set(&mut self, layers: impl IntoIterator<Item = usize>) {
        self.chosen = layers.into_iter().collect();
        if self.focus.is_none_or(|f| !self.chosen.contains(&f)) {
            self.focus = self.chosen.first().copied();
        }
    }

    /// Forgets layers from `count` on, which are no longer there.
    pub fn keep_below(&mut self, count: usize) {
        let kept: Vec<usize> = self.iter().filter(|&layer| layer < count).collect();
        self.focus = self.focus.filter(|&layer| layer < count);
        self.set(kept);
    }

    /// Applies a click on `layer`; `shown` is the order of rows on screen.
    pub fn click(&mut self, layer: usize, mode: SelectMode, shown: &[usize]) {
        match mode {
            SelectMode::Replace => self.chosen = BTreeSet::from([layer]),
            SelectMode::Toggle => {
                if self.chosen.contains(&layer) && self.chosen.len() > 1 {
                    self.chosen.remove(&layer);
                    if self.focus == Some(layer) {
                        self.focus = self.chosen.first().copied();
                    }
                    return;
                }
                self.chosen.insert(layer);
            }
            SelectMode::Range => {
                let position = |wanted: usize| shown.iter().position(|&l| l == wanted);
                let (Some(from), Some(to)) = (self.focus.and_then(position), position(layer)) else {
                    return self.click(layer, SelectMode::Replace, shown);
                };
                self.chosen.extend(&shown[from.min(to)..=from.max(to)]);
            }
        }
        self.focus = Some(layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_follows_the_order_on_screen() {
        let mut selection = Selection::default();
        let shown = [4, 2, 0, 1];
        selection.click(2, SelectMode::Replace, &shown);
        selection.click(1, SelectMode::Range, &shown);
        assert_eq!(selection.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(selection.focus(), Some(1));
    }

    #[test]
    fn the_last_selected_layer_cannot_be_toggled_away() {
        let mut selection = Selection::default();
        selection.click(3, SelectMode::Toggle, &[3]);
        selection.click(3, SelectMode::Toggle, &[3]);
        assert!(selection.contains(3));
    }

    #[test]
    fn the_focus_moves_on_when_its_layer_is_toggled_away() {
        let mut selection = Selection::default();
        selection.set([1, 5]);
        selection.click(1, SelectMode::Toggle, &[1, 5]);
        assert_eq!((selection.focus(), selection.len()), (Some(5), 1));
    }
}
