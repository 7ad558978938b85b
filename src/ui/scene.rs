use super::theme::{self, Tokens};
use crate::app::{Command, Listing, Project, Session};
use egui::Ui;

/// What a view may see and do.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The session, to read.
    pub session: &'a Session,
    /// Colours of the theme in use.
    pub t: &'static Tokens,
    commands: &'a mut Vec<Command>,
}

impl<'a> Scene<'a> {
    /// A scene of one frame.
    pub fn new(ui: &Ui, session: &'a Session, commands: &'a mut Vec<Command>) -> Self {
        Self { session, t: theme::tokens(ui.ctx()), commands }
    }

    /// Has `command` carried out after this frame.
    pub fn send(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// The group that the views show, while groups are listed.
    pub fn group(&self) -> Option<usize> {
        self.session.view().group.filter(|_| self.session.view().listing == Listing::Groups)
    }

    /// The opened model and the index of the layer that the views show.
    pub fn focus(&self) -> Option<(&'a Project, usize)> {
        let project = self.session.project()?;
        Some((project, self.session.selection().focus()?))
    }
}
