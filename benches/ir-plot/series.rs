//! A series with a spike, a new level and a flat line, and what two models say of it.

use incident_response::detect::basic::{BasicConfig, BasicModel};
use incident_response::detect::series::{SeriesConfig, SeriesModel};
use incident_response::detect::stats::Random;
use plotters::prelude::*;

use super::{Result, Sheet};

const STEP_SECS: f64 = 300.0;
const DAY: usize = 288;
/// What is learned before the part that is shown.
const LEARN_DAYS: usize = 14;
const SHOWN_DAYS: usize = 6;
const FULL: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const BASIC: RGBColor = RGBColor(0xd0, 0x7a, 0x1c);
const PLANTED: RGBColor = RGBColor(0xf3, 0xd9, 0xd9);

/// What was planted, in steps after the learning: from, to, and what it does to a usual value.
type Planted = (usize, usize, fn(f64) -> f64);

const PLANTED_IN: [Planted; 3] = [
    (DAY + 100, DAY + 103, |usual| usual + 160.0),
    (2 * DAY + 200, 3 * DAY + 100, |usual| usual + 45.0),
    (4 * DAY + 120, 4 * DAY + 200, |_| 118.0),
];

/// A point: days since the part that is shown, and a value.
type Point = (f64, f64);

#[derive(Default)]
struct Lines {
    values: Vec<Point>,
    expected: Vec<Point>,
    /// Surprise over the limit, 1 at the limit, of the full stack and of the basic tier; and their alerts.
    full: Vec<Point>,
    basic: Vec<Point>,
    full_alerts: Vec<Point>,
    basic_alerts: Vec<Point>,
}

fn watch() -> Lines {
    let mut random = Random::new(11);
    let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
    let (basic_config, mut basic) = (BasicConfig::default(), BasicModel::default());
    let mut lines = Lines::default();
    for step in 0..(LEARN_DAYS + SHOWN_DAYS) * DAY {
        let day = step as f64 / DAY as f64;
        let usual = 100.0 - 30.0 * (day * std::f64::consts::TAU).cos() + 4.0 * random.normal();
        let shown = step.checked_sub(LEARN_DAYS * DAY);
        let planted = PLANTED_IN.iter().find(|(from, to, _)| shown.is_some_and(|at| (*from..*to).contains(&at)));
        let value = planted.map_or(usual, |(.., change)| change(usual));
        let judged = model.push(step as f64 * STEP_SECS, value, &config);
        let basically = basic.push(step as f64 * STEP_SECS, value, &basic_config);
        let Some(at) = shown.map(|at| at as f64 / DAY as f64) else { continue };
        lines.values.push((at, value));
        lines.expected.push((at, judged.expected));
        let full = judged.nats / config.limit_nats;
        let basic = f64::from(basically.nats / basic_config.limit_nats);
        lines.full.push((at, full));
        lines.basic.push((at, basic));
        lines.full_alerts.extend(judged.alert.then_some((at, full)));
        lines.basic_alerts.extend(basically.alert.then_some((at, basic)));
    }
    lines
}

pub(super) fn draw(sheet: &Sheet<'_>) -> Result<()> {
    let lines = watch();
    let (upper, lower) = sheet.split_vertically(330);
    let days = 0.0..SHOWN_DAYS as f64;

    let title = "A value every five minutes, what was expected of it, and what was planted (shaded)";
    let mut chart = ChartBuilder::on(&upper);
    chart.caption(title, ("sans-serif", 17)).margin(10).x_label_area_size(24).y_label_area_size(54);
    let mut chart = chart.build_cartesian_2d(days.clone(), 40.0..300.0)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).y_desc("value").draw()?;
    let shade = |(from, to, _): &Planted| {
        let at = |step: usize| step as f64 / DAY as f64;
        // Fifteen minutes are thinner than a line.
        Rectangle::new([(at(*from), 40.0), (at(*to).max(at(*from) + 0.03), 300.0)], PLANTED.filled())
    };
    chart.draw_series(PLANTED_IN.iter().map(shade))?;
    chart.draw_series(LineSeries::new(lines.values, BLACK.mix(0.75)))?.label("value").legend(key(BLACK));
    chart.draw_series(LineSeries::new(lines.expected, FULL.stroke_width(2)))?.label("expected").legend(key(FULL));
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;

    let title = "Summed surprise as a share of the limit; alerts are dots";
    let mut chart = ChartBuilder::on(&lower);
    chart.caption(title, ("sans-serif", 17)).margin(10).x_label_area_size(36).y_label_area_size(54);
    let mut chart = chart.build_cartesian_2d(days.clone(), 0.0..3.0)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("days").y_desc("surprise / limit").draw()?;
    chart.draw_series(LineSeries::new([(days.start, 1.0), (days.end, 1.0)], BLACK.mix(0.5)))?;
    for (line, alerts, colour, name) in
        [(lines.basic, lines.basic_alerts, BASIC, "basic tier"), (lines.full, lines.full_alerts, FULL, "full stack")]
    {
        chart.draw_series(LineSeries::new(line, colour))?.label(name).legend(key(colour));
        chart.draw_series(alerts.into_iter().map(|at| Circle::new(at, 4, colour.filled())))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}

/// A short line for the legend.
pub(super) fn key(colour: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
}
