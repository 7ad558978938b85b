//! The document, its commands and its history; no widgets and no tensor engine.
//!
//! A [`Session`] owns everything behind the window. Views read it and send [`Command`]s;
//! [`Session::dispatch`] is the one place that changes it, and [`Session::poll`] takes in what
//! background work reports.

mod calibration;
mod carry_out;
mod catalog;
mod command;
mod command_line;
mod criteria;
mod dispatch;
mod edit;
mod excerpt;
pub mod figures;
mod filter;
mod goals;
mod graph_layout;
mod graph_picture;
mod group_edit;
mod group_preview;
mod history;
mod messages;
mod open_data;
mod plan_effect;
mod preview;
mod project;
mod proposals;
pub mod samples;
mod scoreboard;
mod selection;
mod sensitivity;
mod session;
mod settings;
mod slots;
mod snapshot;
mod stored;
mod sweep;
mod weight_picture;
mod work;

pub use calibration::ScoringState;
pub use catalog::{Entry, Menu, catalog};
pub use command::{Command, EditPhase, GroupTarget, Listing, Overlay, PathPurpose, Tab, Target};
pub use command_line::{CommandLine, command_line};
pub use criteria::CriteriaComparison;
pub use excerpt::{ArrayExcerpt, Excerpt, Numbers};
pub use filter::{Filter, SortKey, arrange};
pub use goals::{Goals, Search};
pub use graph_layout::{BoxKind, Curve, GraphBox, GraphEdge, GraphLayout};
pub use graph_picture::GraphPicture;
pub use group_preview::GroupPreview;
pub use history::{History, Step, StepId, StepMetrics};
pub use messages::{Message, Messages, Offer, Severity};
pub use open_data::{Gallery, OpenData};
pub use preview::{LayerPreview, Preview};
pub use project::{Engine, Opened, Project, Thumbnail};
pub use proposals::{Amount, Proposal, Proposals};
pub use scoreboard::{Fidelity, Measured, Scoreboard};
pub use selection::{SelectMode, Selection};
pub use sensitivity::{Scan, SensitivityPicture};
pub use session::{Effect, JobView, Session, View};
pub use settings::{CountScale, LayoutSizes, Recent, Settings, ThemeChoice, storage_folder};
pub use stored::{Stored, StoredLayer};
pub use sweep::{Against, SweepSetting, Sweeping, Swept, amount_text};
pub use weight_picture::WeightPicture;
