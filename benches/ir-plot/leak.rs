//! A leak, when it was told, and how long the resource was foretold to last.

use incident_response::detect::forecast::{LeakConfig, LeakModel};
use ir_bench::sim::series::{Measure, Series, leaking};
use plotters::prelude::*;

use super::series::key;
use super::{Result, Sheet};

const INTERVAL_SECS: f64 = 60.0;
const WARM_DAYS: f64 = 8.0;
/// The first seed from here on whose leak takes so many days is drawn.
const FIRST_SEED: u64 = 100;
const AT_LEAST_DAYS: f64 = 4.0;
const DAY_SECS: f64 = 86_400.0;
/// A value of so many is drawn.
const EVERY: usize = 10;
const FORECAST: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const TRUTH: RGBColor = RGBColor(0xb0, 0x30, 0x30);

pub(super) fn draw(sheet: &Sheet<'_>) -> Result<()> {
    let days = |at: usize| at as f64 * INTERVAL_SECS / DAY_SECS;
    let seeds = (FIRST_SEED..FIRST_SEED + 100).map(|seed| leaking(Measure::Memory, seed, INTERVAL_SECS, WARM_DAYS));
    let slow = |series: &Series| series.leak.is_some_and(|leak| days(leak.exhausted - leak.at) >= AT_LEAST_DAYS);
    let series = seeds.into_iter().find(slow).ok_or("no seed makes a slow leak")?;
    let (Some(leak), Some(limit)) = (series.leak, series.limit) else { return Err("no leak was planted".into()) };
    let (config, mut model) = (LeakConfig::default(), LeakModel::default());
    let (mut values, mut told, mut band, mut median) = (Vec::new(), None, Vec::new(), Vec::new());
    for (at, value) in series.values.iter().enumerate() {
        if at % EVERY == 0 && value.is_finite() {
            values.push((days(at), value / limit));
        }
        let restarted = series.restarts.binary_search(&at).is_ok();
        let judged = model.push(series.secs(at), *value, restarted, series.limit, &config);
        if !judged || model.leak().is_none() || at < leak.at {
            continue;
        }
        told = told.or(Some((days(at), value / limit)));
        if at % EVERY != 0 {
            continue;
        }
        let forecast = model.forecast(series.secs(at), limit, &config);
        if let (Some(early), Some(middle), Some(late)) = (forecast.early_secs, forecast.median_secs, forecast.late_secs)
        {
            band.push((days(at), early / DAY_SECS, late / DAY_SECS));
            median.push((days(at), middle / DAY_SECS));
        }
    }
    let end = days(leak.exhausted);
    let truth = [(days(leak.at), end - days(leak.at)), (end, 0.0)];
    let (upper, lower) = sheet.split_vertically(280);

    let title = "Memory that leaks, as a share of its limit; the dot is where it was told";
    let mut chart = ChartBuilder::on(&upper);
    chart.caption(title, ("sans-serif", 17)).margin(10).x_label_area_size(24).y_label_area_size(54);
    let mut chart = chart.build_cartesian_2d(0.0..end, 0.0..1.05)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).y_desc("share of the limit").draw()?;
    chart.draw_series(LineSeries::new(values, BLACK.mix(0.75)))?;
    chart
        .draw_series(LineSeries::new([(days(leak.at), 0.0), (days(leak.at), 1.05)], TRUTH))?
        .label("it begins")
        .legend(key(TRUTH));
    chart.draw_series(told.map(|at| Circle::new(at, 5, FORECAST.filled())))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;

    let title = "Days until it is full: 90 % interval, median, and the truth";
    let mut chart = ChartBuilder::on(&lower);
    chart.caption(title, ("sans-serif", 17)).margin(10).x_label_area_size(36).y_label_area_size(54);
    let most = 2.0 * (end - days(leak.at));
    let mut chart = chart.build_cartesian_2d(days(leak.at)..end, 0.0..most)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("days").y_desc("days left").draw()?;
    let upwards = band.iter().map(|(at, _, late)| (*at, late.min(most)));
    let outline: Vec<(f64, f64)> =
        band.iter().map(|(at, early, _)| (*at, early.min(most))).chain(upwards.rev()).collect();
    chart.draw_series([Polygon::new(outline, FORECAST.mix(0.2))])?;
    chart
        .draw_series(LineSeries::new(
            median.into_iter().map(|(at, left)| (at, left.min(most))),
            FORECAST.stroke_width(2),
        ))?
        .label("foretold")
        .legend(key(FORECAST));
    chart.draw_series(LineSeries::new(truth, TRUTH.stroke_width(2)))?.label("true").legend(key(TRUTH));
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}
