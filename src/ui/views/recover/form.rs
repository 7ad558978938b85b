use crate::app::{Command, Recovering};
use crate::recover::{Pace, RepairOptions};
use crate::train::{Augment, Optimizer, Regrow, Schedule};
use crate::ui::Scene;
use crate::ui::widgets::{NumberField, segmented};
use egui::{ComboBox, Grid, RichText, Ui, vec2};

/// Rungs and how each is climbed, one line for each.
pub(super) fn form(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.session.view().recovering.clone();
    let mut next = now.clone();
    let able = !scene.session.is_recovering();
    ui.add_enabled_ui(able, |ui| {
        Grid::new("rungs").num_columns(2).spacing(vec2(14.0, 5.0)).show(ui, |ui| {
            repair(ui, &mut next);
            ui.end_row();
            batch_norm(ui, &mut next, scene);
            ui.end_row();
            train(ui, &mut next, scene);
            ui.end_row();
            if next.train {
                ui.label("");
                learning(ui, &mut next, scene);
                ui.end_row();
                distil(ui, &mut next, scene);
                ui.end_row();
            }
            steps(ui, &mut next, scene);
            ui.end_row();
        });
    });
    if next != now {
        scene.send(Command::SetRecovering(Box::new(next)));
    }
}

fn repair(ui: &mut Ui, next: &mut Recovering) {
    let mut on = next.repair.is_some();
    let check = ui.checkbox(&mut on, "Repair layers");
    check.on_hover_text("Solve in closed form for what brings each layer's outputs back. Seconds, no training.");
    if on != next.repair.is_some() {
        next.repair = on.then(RepairOptions::default);
    }
    ui.horizontal(|ui| {
        let Some(options) = &mut next.repair else { return };
        let choices = [
            ("Weights", "All weights that are left, and biases: ridge regression on what each layer reads."),
            ("Biases", "Only the constant difference of each output."),
        ];
        if let Some(chosen) = segmented(ui, "Repair", &choices, usize::from(!options.weights)) {
            options.weights = chosen == 0;
        }
    });
}

fn batch_norm(ui: &mut Ui, next: &mut Recovering, scene: &Scene<'_>) {
    ui.checkbox(&mut next.batch_norm, "Batch-norms")
        .on_hover_text("Measure running statistics afresh on training examples. No gradients, a second or two.");
    let has = scene.session.project().is_some_and(|p| crate::recover::has_batch_norm(&p.opened.model));
    let text = if has { "running means and variances measured afresh" } else { "this model has none, nothing is done" };
    ui.label(RichText::new(text).color(scene.t.faint));
}

fn train(ui: &mut Ui, next: &mut Recovering, scene: &Scene<'_>) {
    ui.checkbox(&mut next.train, "Fine-tune")
        .on_hover_text("Train what is left with masked gradients; the weights of the best epoch are kept.");
    if !next.train {
        ui.label("");
        return;
    }
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    let options = &mut next.options;
    ui.horizontal(|ui| {
        let field = NumberField::new("Epochs", f64::from(options.epochs), options.epochs.to_string());
        if let Some(value) = field.step(1.0).tooltip("Passes over the training examples.").width(52.0).show(ui) {
            options.epochs = value.round().clamp(1.0, 1000.0) as u32;
        }
        ui.label(dim("epochs at rate"));
        let field = NumberField::new("Learning rate", options.learning_rate, format!("{}", options.learning_rate));
        if let Some(value) = field.step(0.001).tooltip("Highest learning rate of the run.").width(68.0).show(ui) {
            options.learning_rate = value.clamp(1e-7, 10.0);
        }
        schedule(ui, &mut options.schedule);
        optimizer(ui, &mut options.optimizer);
        let mut stops = options.patience.is_some();
        let check = ui.checkbox(&mut stops, "stop early");
        check.on_hover_text("End after three epochs without a better one.");
        options.patience = stops.then_some(3);
    });
}

fn schedule(ui: &mut Ui, schedule: &mut Schedule) {
    let all = [
        (Schedule::Constant, "constant"),
        (Schedule::Cosine { warmup: 0.05 }, "cosine"),
        (Schedule::Step { warmup: 0.05, drops: 2, factor: 0.1 }, "steps"),
        (Schedule::OneCycle { rise: 0.3 }, "one cycle"),
    ];
    let title = all.iter().find(|(other, _)| other == schedule).map_or("custom", |(_, title)| title);
    let combo = ComboBox::from_id_salt("Rate schedule").width(92.0).selected_text(title).show_ui(ui, |ui| {
        for (value, title) in all {
            ui.selectable_value(schedule, value, title);
        }
    });
    combo.response.on_hover_text("How the learning rate moves over the run.").accessible_name("Rate schedule");
}

fn optimizer(ui: &mut Ui, optimizer: &mut Optimizer) {
    let all = [(Optimizer::SGD, "SGD"), (Optimizer::ADAM, "Adam"), (Optimizer::ADAM_W, "AdamW")];
    let kind = |rule: &Optimizer| std::mem::discriminant(rule);
    let title = all.iter().find(|(other, _)| kind(other) == kind(optimizer)).map_or("", |(_, title)| title);
    let combo = ComboBox::from_id_salt("Optimizer").width(76.0).selected_text(title).show_ui(ui, |ui| {
        for (value, title) in all {
            if ui.selectable_label(kind(&value) == kind(optimizer), title).clicked() {
                *optimizer = value;
            }
        }
    });
    combo
        .response
        .on_hover_text("How gradients become steps; SGD has momentum 0.9 and looks ahead.")
        .accessible_name("Optimizer");
}

fn learning(ui: &mut Ui, next: &mut Recovering, scene: &Scene<'_>) {
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    let images = scene.session.calibration().is_some_and(|data| data.example_shape().len() == 3);
    let options = &mut next.options;
    ui.horizontal(|ui| {
        ui.add_enabled_ui(images, |ui| {
            ui.checkbox(&mut options.augment.flip, "flip").on_hover_text("Mirror images, one time in two.");
            let Augment { shift, crop, .. } = &mut options.augment;
            for (name, value, tooltip) in [
                ("shift", shift, "Move images by up to so many pixels."),
                ("crop", crop, "Cut off up to so many pixels, and stretch."),
            ] {
                ui.label(dim(name));
                let field = NumberField::new(name, *value as f64, value.to_string());
                if let Some(pixels) = field.step(1.0).tooltip(tooltip).width(34.0).show(ui) {
                    *value = pixels.round().clamp(0.0, 64.0) as usize;
                }
            }
        });
        ui.label(dim("batch"));
        let field = NumberField::new("Batch", options.batch as f64, options.batch.to_string());
        if let Some(value) = field.step(32.0).tooltip("Examples per step.").width(46.0).show(ui) {
            options.batch = value.round().clamp(2.0, 4096.0) as usize;
        }
        ui.label(dim("smoothing"));
        let smoothing = f64::from(options.label_smoothing);
        let field = NumberField::new("Label smoothing", smoothing, format!("{smoothing:.2}"));
        let tooltip = "Share of each label that is spread over all classes.";
        if let Some(value) = field.step(0.05).tooltip(tooltip).width(56.0).show(ui) {
            options.label_smoothing = value.clamp(0.0, 0.9) as f32;
        }
        let mut clips = options.clip.is_some();
        ui.checkbox(&mut clips, "clip").on_hover_text("Scale gradients down to a norm of 1 where they are larger.");
        options.clip = clips.then_some(1.0);
    });
}

fn distil(ui: &mut Ui, next: &mut Recovering, scene: &Scene<'_>) {
    ui.checkbox(&mut next.distils, "Distil").on_hover_text("Learn from the outputs of the dense model besides labels.");
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    let (soft, options) = (&mut next.distillation, &mut next.options);
    ui.horizontal(|ui| {
        ui.add_enabled_ui(next.distils, |ui| {
            ui.label(dim("temperature"));
            let field = NumberField::new("Temperature", f64::from(soft.temperature), format!("{}", soft.temperature));
            let tooltip =
                "What scores are divided by before they are compared: the higher, the more lesser classes count.";
            if let Some(value) = field.step(1.0).tooltip(tooltip).width(48.0).show(ui) {
                soft.temperature = value.clamp(0.1, 100.0) as f32;
            }
            ui.label(dim("share"));
            let field = NumberField::new("Share of the teacher", f64::from(soft.alpha), format!("{}", soft.alpha));
            if let Some(value) =
                field.step(0.1).tooltip("Part of the loss that the dense model decides.").width(48.0).show(ui)
            {
                soft.alpha = value.clamp(0.0, 1.0) as f32;
            }
            let mut features = soft.features > 0.0;
            ui.checkbox(&mut features, "features").on_hover_text("Match what the last layer reads as well.");
            soft.features = if features { 0.1 } else { 0.0 };
        });
        let mut grows = options.regrow.is_some();
        let check = ui.checkbox(&mut grows, "regrow");
        check.on_hover_text("Let single zeros move to where gradients are steep, their number staying.");
        options.regrow = grows.then(Regrow::default);
        ui.label(dim("at most"));
        let minutes = options.seconds.map_or(0.0, |seconds| seconds / 60.0);
        let shown = if minutes > 0.0 { format!("{minutes}") } else { "\u{2013}".to_owned() };
        let field = NumberField::new("Time budget", minutes, shown).unit("min");
        let tooltip = "End after this time, with the rate run down by then; 0 for as long as the epochs take.";
        if let Some(value) = field.step(1.0).tooltip(tooltip).width(64.0).show(ui) {
            options.seconds = (value > 0.0).then_some(value.min(10_000.0) * 60.0);
        }
    });
}

fn steps(ui: &mut Ui, next: &mut Recovering, scene: &Scene<'_>) {
    ui.label("Steps");
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    ui.horizontal(|ui| {
        ui.label(dim("cut and recover in"));
        let field = NumberField::new("Steps", f64::from(next.approach.steps), next.approach.steps.to_string());
        let tooltip = "1 cuts at once; more come up to the plan's amount step by step, recovering after each.";
        if let Some(value) = field.step(1.0).tooltip(tooltip).width(48.0).show(ui) {
            next.approach.steps = value.round().clamp(1.0, 100.0) as u32;
        }
        ui.label(dim(if next.approach.steps == 1 { "step" } else { "steps" }));
        if next.approach.steps > 1 {
            let choices =
                [("Linear", "The same amount in each step."), ("Cubic", "Much at first, little at last (AGP).")];
            if let Some(chosen) = segmented(ui, "Pace", &choices, usize::from(next.approach.pace == Pace::Agp)) {
                next.approach.pace = if chosen == 1 { Pace::Agp } else { Pace::Linear };
            }
        }
    });
}
